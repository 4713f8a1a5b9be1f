//! What a user has several of, by number: sessions and trusted computers.

use std::collections::BTreeSet;
use std::process::ExitCode;

use otpgate::log::Quoted;
use otpgate::token::TokenTag;

use crate::backend::Backend;
use crate::json::{Document, Object};
use crate::list::{Table, user_text};
use crate::streamed::Streamed;
use crate::tokens;
use crate::{Failure, Result, print};

/// One of them as an admin meets it.
pub trait Row {
    const NOUN: &'static str;
    /// Also the verb that lists them, and their array in JSON.
    const PLURAL: &'static str;
    /// Said of a user who has none.
    const NONE: &'static str;
    const HEAD: [&'static str; 5];

    fn columns(&self) -> [String; 5];

    fn write_json(&self, object: &mut Object<'_>);
}

pub fn list<R: Row>(backend: &Backend, user: &[u8], rows: &[R], is_json: bool) -> Result<ExitCode> {
    if is_json {
        let mut document = Document::begin(Streamed::stdout()?, R::PLURAL)?;
        rows.iter().try_for_each(|row| document.add(|object| row.write_json(object)))?;
        document.end(|object| {
            object.text("user", Some(&user_text(user)));
            object.text("users_file", Some(&backend.name()));
        })?;
    } else if rows.is_empty() {
        print(format_args!("{} has {}\n", Quoted(user), R::NONE))?;
    } else {
        let mut table = Table::begin(Streamed::stdout()?, R::HEAD);
        rows.iter().try_for_each(|row| table.add(row.columns()))?;
        table.end()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Those of these numbers; all, if there are none.
pub fn chosen<'h, R: Row, T>(
    user: &[u8],
    held: &'h [T],
    numbers: &[usize],
) -> Result<impl Iterator<Item = &'h T>> {
    let count = held.len();
    if let Some(number) = numbers.iter().find(|&&number| number == 0 || number > count) {
        let (user, noun, verb) = (Quoted(user), R::NOUN, R::PLURAL);
        let text = format!("{user} has no {noun} {number}, only {count}; see `otpgate {verb}`");
        return Err(Failure::new(text));
    }
    let numbers: BTreeSet<usize> = numbers.iter().copied().collect();
    let is_meant = move |number: &usize| numbers.is_empty() || numbers.contains(number);
    Ok(held.iter().zip(1..).filter(move |(_, number)| is_meant(number)).map(|(it, _)| it))
}

/// So many of them, in words.
pub fn counted<R: Row>(count: u64) -> String {
    format!("{count} {}", if count == 1 { R::NOUN } else { R::PLURAL })
}

/// The number of the token that something rests on, if that still is what it was.
pub fn token_of(tokens: &[tokens::Numbered<'_>], tag: TokenTag) -> Option<usize> {
    let is_it = |token: &&tokens::Numbered<'_>| match &token.held.token {
        Ok(line) => !line.token.disabled && TokenTag::of(&line.token.fingerprint) == tag,
        Err(_) => false,
    };
    Some(tokens.iter().find(is_it)?.number)
}
