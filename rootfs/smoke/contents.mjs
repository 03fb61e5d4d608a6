// What programs in a room may count on.
import { expect } from './report.mjs';

export async function tryContents(channel) {
  const login = (command) => channel.call('exec', [['arg', 'bash'], ['arg', '-l'], ['arg', '-c'], ['arg', command], ['env', 'TERM=xterm-256color']]);
  const says = async (command, wanted, fields = []) => {
    const found = fields.length > 0 ? (await channel.shell(command, fields)).out : (await login(command)).text;
    expect(wanted.test(found), command, found);
  };
  await says('id; pwd; umask; echo $HOME $SHELL', /uid=1000\(user\) gid=1000\(user\)[^\n]*\n\/home\/user\n0022\n\/home\/user \/bin\/bash\n/);
  await says('sudo -n id -u; sudo -n -u user id -un', /^0\nuser\n$/);
  await says('python3 -c "import sys, json, ssl, sqlite3, http.server; print(sys.version_info >= (3, 11))"; python --version', /^True\nPython 3/);
  await says('git --version; curl --version | head -1; tput colors; infocmp -1 xterm-256color | head -1', /git version[^\n]*\ncurl [^\n]*\n256\n/);
  await says('touch f && setfattr -n user.e2b.a -v b f && getfattr --only-values -n user.e2b.a f', /^b$/);
  await says('echo x > /root/x || echo no; echo y > /tmp/y && cat /tmp/y; ls -ld /home/user', /^no\ny\ndrwx/);
  await says('cat /proc/sys/kernel/random/boot_id; hostname; cat /etc/machine-id; getent hosts localhost', /^[0-9a-f-]{36}\nroom\n[0-9a-f]{32}\n[^\n]*localhost/);
  await says('git init -q r && cd r && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git log --format=%s', /^x\n$/);
  const server = channel.keep('exec python -m http.server 8123', [['cwd', '/']]);
  expect((await channel.http('GET', '/etc/hostname', '', {}, 8123)).body === 'room\n', 'python -m http.server serves');
  server.cancel();
  await channel.shell('pkill -f http.server');
}
