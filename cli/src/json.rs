//! JSON as it is written: of a list of a million objects none is held.

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;

use crate::streamed::Streamed;
use crate::{Result, output};

/// A document with a list: an object, one of whose members is an array with one object on a line.
pub struct Document {
    out: Streamed<File>,
    is_empty: bool,
}

impl Document {
    /// `list` is the name of the array.
    pub fn begin(mut out: Streamed<File>, list: &str) -> Result<Document> {
        out.write(|out| {
            out.push(b'{');
            push_text(out, list);
            out.extend_from_slice(b": [");
        })?;
        Ok(Document { out, is_empty: true })
    }

    /// One more object of the list.
    pub fn add(&mut self, fill: impl FnOnce(&mut Object<'_>)) -> Result<()> {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        self.out.write(|out| {
            out.extend_from_slice(if is_first { b"\n{" } else { b",\n{" });
            fill(&mut Object { out, is_empty: true });
            out.push(b'}');
        })
    }

    /// The members after the list, which is complete.
    pub fn end(mut self, fill: impl FnOnce(&mut Object<'_>)) -> Result<()> {
        self.out.write(|out| {
            out.extend_from_slice(if self.is_empty { b"]" } else { b"\n]" });
            fill(&mut Object { out, is_empty: false });
            out.extend_from_slice(b"}\n");
        })?;
        self.out.finish().map(drop)
    }
}

/// The members of an object.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.extend_from_slice(b", ");
        }
        push_text(self.out, name);
        self.out.extend_from_slice(b": ");
    }

    pub fn text(&mut self, name: &str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => push_text(self.out, text),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    pub fn texts(&mut self, name: &str, texts: &[String]) {
        self.name(name);
        self.out.push(b'[');
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.out.extend_from_slice(b", ");
            }
            push_text(self.out, text);
        }
        self.out.push(b']');
    }

    /// An array of objects.
    pub fn objects<T>(
        &mut self,
        name: &str,
        items: &[T],
        mut fill: impl FnMut(&T, &mut Object<'_>),
    ) {
        self.name(name);
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            self.out.extend_from_slice(if index > 0 { b", {" } else { b"{" });
            fill(item, &mut Object { out: self.out, is_empty: true });
            self.out.push(b'}');
        }
        self.out.push(b']');
    }

    pub fn number(&mut self, name: &str, number: Option<impl Display>) {
        self.name(name);
        match number {
            Some(number) => write!(self.out, "{number}").expect("writing to memory"),
            None => self.out.extend_from_slice(b"null"),
        }
    }

    pub fn flag(&mut self, name: &str, flag: Option<bool>) {
        self.number(name, flag);
    }
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        serde_json::to_writer(out, text).expect("writing to memory");
    } else {
        let quoted = serde_json::to_string(text).expect("writing to memory");
        out.extend_from_slice(output::json(quoted).as_bytes());
    }
}
