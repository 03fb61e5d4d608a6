//! Fields: the `name · value` lists of OPEN, RESET and of messages. See PROTOCOL.md, "Frames".

pub const MAX_BYTES: usize = 65_536;
pub const MAX_COUNT: usize = 1_024;
const MAX_NAME: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub struct Fields {
    entries: Vec<(String, Vec<u8>)>,
}

/// Why bytes are not fields, or a field is not what a service needs.
#[derive(Debug, PartialEq, Eq)]
pub struct BadFields(pub String);

fn bad<T>(reason: impl Into<String>) -> Result<T, BadFields> {
    Err(BadFields(reason.into()))
}

impl Fields {
    /// Reads a whole payload. Nothing is reserved before its length was checked against what is really there.
    pub fn parse(payload: &[u8]) -> Result<Fields, BadFields> {
        if payload.len() > MAX_BYTES {
            return bad("too long");
        }
        let mut entries = Vec::new();
        let mut rest = payload;
        while !rest.is_empty() {
            if entries.len() == MAX_COUNT {
                return bad("too many fields");
            }
            let (entry, after) = parse_entry(rest)?;
            entries.push(entry);
            rest = after;
        }
        Ok(Fields { entries })
    }

    /// Refuses any name outside `known`: a field that is ignored would be a wish that is silently not fulfilled.
    pub fn only(&self, known: &[&str]) -> Result<(), BadFields> {
        for (name, _) in &self.entries {
            if !known.contains(&name.as_str()) {
                return bad(format!("unknown field {}", name));
            }
        }
        Ok(())
    }

    /// The value of a field that may appear once.
    pub fn bytes(&self, name: &str) -> Result<Option<&[u8]>, BadFields> {
        let mut found = self.entries.iter().filter(|(key, _)| key == name);
        let first = found.next();
        if found.next().is_some() {
            return bad(format!("{} is given twice", name));
        }
        Ok(first.map(|(_, value)| value.as_slice()))
    }

    /// As `bytes`, as UTF-8 without a zero byte. An empty value counts as absent.
    pub fn text(&self, name: &str) -> Result<Option<&str>, BadFields> {
        match self.bytes(name)? {
            None | Some([]) => Ok(None),
            Some(value) => as_text(name, value).map(Some),
        }
    }

    /// As `text`, for a field that must be there.
    pub fn needed(&self, name: &str) -> Result<&str, BadFields> {
        match self.text(name)? {
            Some(value) => Ok(value),
            None => bad(format!("{} is missing", name)),
        }
    }

    /// Every value of a list field, in order.
    pub fn all(&self, name: &str) -> Result<Vec<&str>, BadFields> {
        self.entries
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| as_text(name, value))
            .collect()
    }

    /// A decimal number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, BadFields> {
        self.digits(name, 10)
    }

    /// An octal number, as file modes are written.
    pub fn octal(&self, name: &str) -> Result<Option<u32>, BadFields> {
        match self.digits(name, 8)? {
            Some(value) if value > 0o7777 => bad(format!("{} is out of range", name)),
            value => Ok(value.map(|number| number as u32)),
        }
    }

    /// A flag: absent, empty or `0` is no, `1` is yes.
    pub fn flag(&self, name: &str) -> Result<bool, BadFields> {
        match self.text(name)? {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(_) => bad(format!("{} is not a flag", name)),
        }
    }

    fn digits(&self, name: &str, base: u32) -> Result<Option<u64>, BadFields> {
        let text = match self.text(name)? {
            None => return Ok(None),
            Some(text) => text,
        };
        // from_str_radix takes a sign; the protocol does not.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return bad(format!("{} is not a number", name));
        }
        match u64::from_str_radix(text, base) {
            Ok(value) => Ok(Some(value)),
            Err(_) => bad(format!("{} is out of range", name)),
        }
    }
}

fn as_text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, BadFields> {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => bad(format!("{} is not text", name)),
    }
}

fn parse_entry(bytes: &[u8]) -> Result<((String, Vec<u8>), &[u8]), BadFields> {
    let name_length = bytes[0] as usize;
    if name_length == 0 || name_length > MAX_NAME {
        return bad("bad length of a name");
    }
    let name = match bytes.get(1..1 + name_length) {
        Some(name) if name[0].is_ascii_alphabetic() && name.iter().all(|byte| byte.is_ascii_alphanumeric()) => name,
        _ => return bad("bad name"),
    };
    let rest = &bytes[1 + name_length..];
    let value_length = match rest.get(..4) {
        Some(length) => u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize,
        None => return bad("cut off"),
    };
    let value = match rest.get(4..).and_then(|tail| tail.get(..value_length)) {
        Some(value) => value,
        None => return bad("cut off"),
    };
    let name = name.iter().map(|byte| *byte as char).collect();
    Ok(((name, value.to_vec()), &rest[4 + value_length..]))
}

/// Adds one field to a payload under construction. Names are constants of this program and within the rules.
pub fn put(payload: &mut Vec<u8>, name: &str, value: &[u8]) {
    payload.push(name.len() as u8);
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(&(value.len() as u32).to_le_bytes());
    payload.extend_from_slice(value);
}

/// A payload of these fields.
pub fn encode(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in entries {
        put(&mut payload, name, value);
    }
    payload
}
