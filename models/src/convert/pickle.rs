//! A reader for the pickles that hold state dictionaries: plain data in, plain data out.
//!
//! A pickle is a program for a stack machine and can ask Python to call anything. This reader calls nothing: a global is
//! its name, a call is a record of itself, and whatever a state dictionary does not need is refused. Length, nesting and
//! the memory that one step may take are bounded by the input's own length.

use super::ConvertError;

/// What a pickle can hold here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i128),
    Text(String),
    /// A Python name, `module.name`.
    Global(String),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    /// An object outside the pickle, described by its identity.
    Persistent(Box<Value>),
    /// A call that Python would make; for dictionaries built by a call, `items` were set afterwards.
    Call {
        function: String,
        arguments: Vec<Value>,
        items: Vec<(Value, Value)>,
    },
}

/// State dictionaries nest six deep; anything deeper is no state dictionary.
const MAX_NESTING: usize = 12;

/// Reads one pickle from the front of `input` and moves `input` behind it.
pub(super) fn read(input: &mut &[u8]) -> Result<Value, ConvertError> {
    let mut machine = Machine { input, stack: Vec::new(), marks: Vec::new(), memo: Vec::new() };
    loop {
        if machine.step()? == Step::Stop {
            return machine.pop();
        }
    }
}

#[derive(PartialEq)]
enum Step {
    Next,
    Stop,
}

struct Machine<'a, 'b> {
    input: &'a mut &'b [u8],
    stack: Vec<Value>,
    /// Heights of the stack at which unfinished tuples, lists and dictionaries begin.
    marks: Vec<usize>,
    /// Values that the pickle may fetch again; `None` for those that it may not.
    memo: Vec<Option<Value>>,
}

impl<'b> Machine<'_, 'b> {
    /// Runs one operation. Codes and meanings are those of Python's `pickletools`.
    fn step(&mut self) -> Result<Step, ConvertError> {
        match self.byte()? {
            b'.' => return Ok(Step::Stop),
            0x80 => match self.byte()? {
                2 => {}
                version => return Err(malformed(format!("protocol {version} where 2 is expected"))),
            },
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let bytes = self.take(4)?;
                self.stack.push(Value::Integer(signed(bytes)));
            }
            0x8a => {
                let length = usize::from(self.byte()?);
                if length > 16 {
                    return Err(malformed("an integer of more than 128 bits"));
                }
                let bytes = self.take(length)?;
                self.stack.push(Value::Integer(signed(bytes)));
            }
            b'X' => {
                let length = self.length()?;
                let text = text(self.take(length)?)?;
                self.stack.push(Value::Text(text));
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Global(format!("{module}.{name}")));
            }
            b'}' => self.stack.push(Value::Dictionary(Vec::new())),
            b']' => self.stack.push(Value::List(Vec::new())),
            b')' => self.stack.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_tuple(items)?;
            }
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b'q' => {
                let slot = usize::from(self.byte()?);
                self.remember(slot)?;
            }
            b'r' => {
                let slot = self.length()?;
                self.remember(slot)?;
            }
            b'h' => {
                let slot = usize::from(self.byte()?);
                self.recall(slot)?;
            }
            b'j' => {
                let slot = self.length()?;
                self.recall(slot)?;
            }
            b'Q' => {
                let identity = self.pop()?;
                nested(&identity)?;
                self.stack.push(Value::Persistent(Box::new(identity)));
            }
            b'R' => self.call()?,
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(items)?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                items.iter().try_for_each(nested)?;
                match self.stack.last_mut() {
                    Some(Value::List(list)) => list.extend(items),
                    _ => return Err(malformed("items are appended to what is no list")),
                }
            }
            // The attributes of an object: a state dictionary keeps its format's version there, which holds no weights.
            b'b' => drop(self.pop()?),
            code => return Err(malformed(format!("operation 0x{code:02x} has no place in a state dictionary"))),
        }
        Ok(Step::Next)
    }

    fn call(&mut self) -> Result<(), ConvertError> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let (Value::Tuple(arguments), Value::Global(function)) = (arguments, function) else {
            return Err(malformed("a call needs a function and a tuple of arguments"));
        };
        arguments.iter().try_for_each(nested)?;
        self.stack.push(Value::Call { function, arguments, items: Vec::new() });
        Ok(())
    }

    /// `flat` alternates keys and values.
    fn set_items(&mut self, flat: Vec<Value>) -> Result<(), ConvertError> {
        flat.iter().try_for_each(nested)?;
        let (Some(Value::Dictionary(items)) | Some(Value::Call { items, .. })) = self.stack.last_mut() else {
            return Err(malformed("items are set on what is no dictionary"));
        };
        let mut flat = flat.into_iter();
        while let Some(key) = flat.next() {
            let value = flat.next().ok_or_else(|| malformed("a key without a value"))?;
            items.push((key, value));
        }
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), ConvertError> {
        let start = self.stack.len().checked_sub(length).filter(|start| *start >= self.floor());
        let items = self.stack.split_off(start.ok_or_else(underflow)?);
        self.push_tuple(items)
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<(), ConvertError> {
        items.iter().try_for_each(nested)?;
        self.stack.push(Value::Tuple(items));
        Ok(())
    }

    /// Only what can not grow is kept for fetching: copies of containers could multiply without bound.
    fn remember(&mut self, slot: usize) -> Result<(), ConvertError> {
        // Python numbers the slots one by one, so a gap is no pickle of Python's.
        if slot != self.memo.len() {
            return Err(malformed(format!("memo slot {slot} where {} is next", self.memo.len())));
        }
        self.memo.push(match self.stack.last() {
            Some(value @ (Value::Text(_) | Value::Global(_))) => Some(value.clone()),
            Some(_) => None,
            None => return Err(underflow()),
        });
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Result<(), ConvertError> {
        let value = self.memo.get(slot).and_then(Clone::clone);
        self.stack.push(value.ok_or_else(|| malformed(format!("memo slot {slot} holds no text and no name")))?);
        Ok(())
    }

    fn integer(&mut self, length: usize) -> Result<(), ConvertError> {
        let bytes = self.take(length)?;
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | i128::from(*byte));
        self.stack.push(Value::Integer(value));
        Ok(())
    }

    /// What lies under the last mark belongs to an unfinished container.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value, ConvertError> {
        if self.stack.len() <= self.floor() {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, ConvertError> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Result<u8, ConvertError> {
        Ok(self.take(1)?[0])
    }

    fn length(&mut self) -> Result<usize, ConvertError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], ConvertError> {
        let (taken, rest) = self.input.split_at_checked(length).ok_or_else(truncated)?;
        *self.input = rest;
        Ok(taken)
    }

    fn line(&mut self) -> Result<String, ConvertError> {
        let end = self.input.iter().position(|byte| *byte == b'\n').ok_or_else(truncated)?;
        let line = text(self.take(end)?)?;
        self.byte()?;
        Ok(line)
    }
}

/// Refuses a value that is nested too deep to become part of another one.
fn nested(value: &Value) -> Result<(), ConvertError> {
    fn fits(value: &Value, levels: usize) -> bool {
        let pairs = |items: &[(Value, Value)]| items.iter().all(|(a, b)| fits(a, levels - 1) && fits(b, levels - 1));
        match value {
            Value::None | Value::Bool(_) | Value::Integer(_) | Value::Text(_) | Value::Global(_) => true,
            _ if levels == 0 => false,
            Value::Tuple(items) | Value::List(items) => items.iter().all(|item| fits(item, levels - 1)),
            Value::Dictionary(items) => pairs(items),
            Value::Persistent(identity) => fits(identity, levels - 1),
            Value::Call { arguments, items, .. } => arguments.iter().all(|item| fits(item, levels - 1)) && pairs(items),
        }
    }
    if fits(value, MAX_NESTING) { Ok(()) } else { Err(malformed("nested too deep")) }
}

/// A little-endian two's complement integer of at most 16 bytes.
fn signed(bytes: &[u8]) -> i128 {
    let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [fill; 16];
    whole[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(whole)
}

fn text(bytes: &[u8]) -> Result<String, ConvertError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed("text that is not UTF-8"))
}

fn truncated() -> ConvertError {
    malformed("it ends too early")
}

fn underflow() -> ConvertError {
    malformed("an operation lacks its operands")
}

fn malformed(problem: impl Into<String>) -> ConvertError {
    ConvertError::Malformed { format: "a pickled state dictionary", problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(mut bytes: &[u8]) -> Result<Value, ConvertError> {
        let value = read(&mut bytes)?;
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        Ok(value)
    }

    // Python: pickle.dumps({'a': (1, True, None), 'b': [-3, 'a']}, protocol=2)
    const SAMPLE: &[u8] =
        b"\x80\x02}q\0(X\x01\0\0\0aq\x01K\x01\x88N\x87q\x02X\x01\0\0\0bq\x03]q\x04(J\xfd\xff\xff\xffh\x01eu.";

    #[test]
    fn plain_data_is_read() {
        let (a, b) = (|| Value::Text("a".into()), Value::Text("b".into()));
        let tuple = Value::Tuple(vec![Value::Integer(1), Value::Bool(true), Value::None]);
        let list = Value::List(vec![Value::Integer(-3), a()]);
        assert_eq!(whole(SAMPLE).unwrap(), Value::Dictionary(vec![(a(), tuple), (b, list)]));
    }

    #[test]
    fn a_pickle_cut_anywhere_is_refused() {
        for end in 0..SAMPLE.len() {
            assert!(whole(&SAMPLE[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn calls_are_recorded_and_never_made() {
        let value = whole(b"\x80\x02cos\nsystem\nX\x02\0\0\0ls\x85R.").unwrap();
        let arguments = vec![Value::Text("ls".into())];
        assert_eq!(value, Value::Call { function: "os.system".into(), arguments, items: vec![] });
    }

    #[test]
    fn hostile_pickles_are_refused() {
        let cases: [(&str, &[u8]); 10] = [
            ("a text of 4 GiB", b"\x80\x02X\xff\xff\xff\xffa."),
            ("an integer of 255 bytes", b"\x80\x02\x8a\xff\0."),
            ("an unknown operation", b"\x80\x02\x94."),
            ("another protocol", b"\x80\x05."),
            ("nothing on the stack", b"\x80\x02."),
            ("a mark that is never closed", b"\x80\x02K\x01(."),
            ("a tuple across a mark", b"\x80\x02K\x01(K\x02\x86."),
            ("a memo slot in the distance", b"\x80\x02K\x01r\xff\xff\xff\xff."),
            ("an empty memo slot", b"\x80\x02h\x07."),
            ("a key without a value", b"\x80\x02}(K\x01u."),
        ];
        for (case, bytes) in cases {
            assert!(whole(bytes).is_err(), "{case}");
        }
    }

    #[test]
    fn nesting_and_sharing_can_not_grow_without_bound() {
        let deep = [&b"\x80\x02)"[..], &[0x85; 100_000], b"."].concat();
        assert!(whole(&deep).unwrap_err().to_string().contains("deep"));
        // A tuple of two of the tuple before it, and so on: 2^n cells in n steps.
        assert!(whole(b"\x80\x02)q\0h\0h\0\x86q\x01h\x01h\x01\x86.").is_err());
    }
}
