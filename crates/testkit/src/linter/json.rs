//! JSON in the order in which it was written.

/// A value; objects keep the order of their properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// An integer; others do not occur.
    Number(i64),
    /// A text; a lone surrogate `\udc80` to `\udcff` is the byte that it stands for.
    Text(Vec<u8>),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one value without any white space around or in it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Json, String> {
        let mut parser = Parser { bytes, at: 0 };
        let value = parser.value(0)?;
        if parser.at == bytes.len() {
            Ok(value)
        } else {
            Err(format!("JSON goes on at byte {}", parser.at))
        }
    }

    pub(super) fn object(&self) -> Option<&[(String, Json)]> {
        match self {
            Json::Object(properties) => Some(properties),
            _ => None,
        }
    }

    pub(super) fn array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn number(&self) -> Option<i64> {
        match self {
            Json::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A property of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let properties = self.object()?;
        properties
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// The names of an object's properties in order.
    pub(super) fn names(&self) -> Vec<&str> {
        let properties = self.object().unwrap_or_default();
        properties.iter().map(|(name, _)| name.as_str()).collect()
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

const DEEPEST: usize = 8;

impl Parser<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("JSON: {what} at byte {}", self.at))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return self.fail("an unknown word");
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEEPEST {
            return self.fail("too deep");
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => {
                let items = self.sequence(b']', |parser| parser.value(depth + 1))?;
                Ok(Json::Array(items))
            }
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let digits = |byte: &u8| !matches!(byte, b'-' | b'0'..=b'9');
                let len = rest.iter().position(digits).unwrap_or(rest.len());
                let text = std::str::from_utf8(rest.get(..len).unwrap_or_default());
                let number = text.ok().and_then(|text| text.parse().ok());
                self.at += len;
                number.map_or_else(|| self.fail("no integer"), |n| Ok(Json::Number(n)))
            }
            _ => self.fail("no value"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let properties = self.sequence(b'}', |parser| {
            let name = parser.string()?;
            let Ok(name) = String::from_utf8(name) else {
                return parser.fail("a name that is no text");
            };
            if parser.next() != Some(b':') {
                return parser.fail("a colon is missing");
            }
            Ok((name, parser.value(depth + 1)?))
        })?;
        let mut names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return self.fail("a property stands twice before");
        }
        Ok(Json::Object(properties))
    }

    /// Items between the bracket at this place and `end`.
    fn sequence<T>(
        &mut self,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() == Some(end) {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            match self.next() {
                Some(b',') => {}
                Some(byte) if byte == end => return Ok(items),
                _ => return self.fail("a comma is missing"),
            }
        }
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        if self.next() != Some(b'"') {
            return self.fail("a text is missing");
        }
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.next() else {
                return self.fail("a text has no end");
            };
            match byte {
                b'"' => break,
                b'\\' => self.escape(&mut text)?,
                0..=0x1F => return self.fail("a raw control character"),
                _ => text.push(byte),
            }
        }
        Ok(text)
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let simple = match self.next() {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(text),
            _ => return self.fail("an unknown escape"),
        };
        text.push(simple);
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.bytes.get(self.at..self.at + 4);
        let number = digits
            .and_then(|d| std::str::from_utf8(d).ok())
            .and_then(|d| u32::from_str_radix(d, 16).ok());
        self.at += 4;
        number.map_or_else(|| self.fail("no four digits"), Ok)
    }

    fn unicode(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let unit = self.hex()?;
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut code = unit;
        if (0xD800..0xDC00).contains(&unit) && rest.starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if !(0xDC00..0xE000).contains(&low) {
                return self.fail("half a surrogate pair");
            }
            code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        }
        if let Some(character) = char::from_u32(code) {
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        match code
            .checked_sub(0xDC00)
            .and_then(|low| u8::try_from(low).ok())
        {
            Some(byte) if byte >= 0x80 => {
                text.push(byte);
                Ok(())
            }
            _ => self.fail("a lone surrogate that is no byte"),
        }
    }
}
