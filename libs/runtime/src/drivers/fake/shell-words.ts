/** A piece of a word: `literal` is not looked at for variables. */
export interface WordPart {
  text: string;
  literal: boolean;
}
export type Word = WordPart[];

/** What joins a step to the one before: `&&` runs it only after a 0, `||` only after anything else. */
export type Join = ';' | '&&' | '||';

/** One command of a script, or a loop. JSON, because what runs in a fake room is a part of its memory. */
export type Step =
  | { join: Join; words: Word[]; toStderr: boolean; file?: { path: Word; append: boolean } }
  | { join: Join; test: Step[]; body: Step[] };

type Token = { operator: string } | { word: Word };

const operators = /^(?:&&|\|\||;|\n|>&2|>>|>)/;
const piece = /^(?:'([^']*)'|"([^"]*)"|(\$\(\([^)]*\)\)|[^\s;'"&|>]+))/;

/** Words, quotes, `;`, `&&`, `||`, `>&2`, `> FILE`, `>> FILE`, `NAME=VALUE`, `$NAME`, `$((NAME + 1))` and `while …; do …; done`: nothing else of a shell. */
export function parseScript(text: string): Step[] {
  return parseSteps(tokens(text), { at: 0 }, undefined);
}

function tokens(text: string): Token[] {
  const found: Token[] = [];
  let rest = text;
  let word: Word | undefined;
  const finish = () => {
    if (word) found.push({ word });
    word = undefined;
  };
  while (rest.length > 0) {
    const operator = operators.exec(rest)?.[0];
    const part = operator === undefined ? piece.exec(rest) : null;
    if (part) word = [...(word ?? []), { text: part[1] ?? part[2] ?? part[3] ?? '', literal: part[1] !== undefined }];
    else finish();
    if (operator !== undefined) found.push({ operator: operator === '\n' ? ';' : operator });
    rest = rest.slice(operator?.length ?? part?.[0].length ?? 1);
  }
  finish();
  return found;
}

function parseSteps(all: Token[], cursor: { at: number }, until: string | undefined): Step[] {
  const steps: Step[] = [];
  let join: Join = ';';
  while (cursor.at < all.length) {
    const token = all[cursor.at];
    if (until !== undefined && isKeyword(token, until)) return steps;
    if (token && 'operator' in token && isJoin(token.operator)) {
      join = token.operator;
      cursor.at += 1;
      continue;
    }
    steps.push(isKeyword(token, 'while') ? parseLoop(all, cursor, join) : parseCommand(all, cursor, join));
    join = ';';
  }
  return steps;
}

function parseLoop(all: Token[], cursor: { at: number }, join: Join): Step {
  cursor.at += 1;
  const test = parseSteps(all, cursor, 'do');
  cursor.at += 1;
  const body = parseSteps(all, cursor, 'done');
  cursor.at += 1;
  return { join, test, body };
}

function parseCommand(all: Token[], cursor: { at: number }, join: Join): Step {
  const step: Extract<Step, { words: Word[] }> = { join, words: [], toStderr: false };
  for (; cursor.at < all.length; cursor.at += 1) {
    const token = all[cursor.at];
    if (!token) break;
    if ('word' in token) {
      step.words.push(token.word);
      continue;
    }
    if (isJoin(token.operator)) break;
    if (token.operator === '>&2') step.toStderr = true;
    const path = all[cursor.at + 1];
    if (token.operator.length <= 2 && path && 'word' in path) {
      step.file = { path: path.word, append: token.operator === '>>' };
      cursor.at += 1;
    }
  }
  return step;
}

function isJoin(operator: string): operator is Join {
  return operator === ';' || operator === '&&' || operator === '||';
}

function isKeyword(token: Token | undefined, keyword: string): boolean {
  const part = token && 'word' in token && token.word.length === 1 ? token.word[0] : undefined;
  return part !== undefined && !part.literal && part.text === keyword;
}

/** The word with its variables. A name without a value is empty. */
export function expand(word: Word, value: (name: string) => string | undefined): string {
  const number = (name: string) => Number(/^\d+$/.test(name) ? name : (value(name) ?? 0));
  return word
    .map(({ text, literal }) => {
      if (literal) return text;
      const sums = text.replace(/\$\(\(\s*\$?(\w+)\s*(?:([+-])\s*(\d+)\s*)?\)\)/g, (_all, name: string, sign: string | undefined, by: string | undefined) =>
        String(number(name) + (sign === '-' ? -1 : 1) * Number(by ?? 0)),
      );
      return sums.replace(/\$(?:\{(\w+)\}|([A-Za-z_]\w*|[$?]))/g, (_all, braced: string | undefined, bare: string | undefined) => value(braced ?? bare ?? '') ?? '');
    })
    .join('');
}
