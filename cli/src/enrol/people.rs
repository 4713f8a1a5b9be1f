//! The list of those who are to be enrolled: a table with a heading.

use std::collections::{HashMap, HashSet};

use otpgate::log::Quoted;
use otpgate::users::mistakes::{self, NameError};
use otpgate::users::name;
use zeroize::Zeroizing;

use crate::add::check_user;
use crate::exchange::{Flaw, csv, lines};

/// Somebody to be enrolled.
pub struct Person {
    pub user: Vec<u8>,
    /// The fields of the other columns.
    pub others: Vec<Zeroizing<Vec<u8>>>,
    /// The number of the line.
    pub place: usize,
}

/// The list.
pub struct People {
    pub separator: u8,
    /// The names of the other columns.
    pub columns: Vec<Zeroizing<Vec<u8>>>,
    pub people: Vec<Person>,
    /// Lines that can't be used, and names that others in the list have.
    pub flaws: Vec<Flaw>,
}

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// `user_column`: the heading of the column with the names. `taken`: headings that can't be others'.
/// `Err`: nothing can be read.
pub fn read(text: &[u8], user_column: &str, taken: &[&str]) -> Result<People, Flaw> {
    let separator = separator(text);
    let separators = [separator];
    let mut records = csv::records(text, &separators);
    let is_user = |column: &[u8]| column.eq_ignore_ascii_case(user_column.as_bytes());
    let no_heading = || {
        Flaw::of_all(format!(
            "its first line must be a heading with a column \"{}\" (--user-column names another); nothing was changed",
            user_column.escape_debug()
        ))
    };
    let (_, mut columns) = records.next().ok_or_else(no_heading)??;
    let user_at = columns.iter().position(|column| is_user(column)).ok_or_else(no_heading)?;
    let width = columns.len();
    columns.remove(user_at);
    for (i, column) in columns.iter().enumerate() {
        let is_same = |other: &[u8]| other.eq_ignore_ascii_case(column);
        if is_user(column)
            || taken.iter().any(|name| is_same(name.as_bytes()))
            || columns[..i].iter().any(|other| is_same(other))
        {
            return Err(Flaw::of_all(format!(
                "two columns would be called {}; nothing was changed: rename one",
                Quoted(column)
            )));
        }
    }
    let mut list = People { separator, columns, people: Vec::new(), flaws: Vec::new() };
    for record in records {
        let (place, mut fields) = match record {
            Ok(record) => record,
            Err(flaw) => {
                list.flaws.push(flaw);
                continue;
            }
        };
        // Spreadsheets write empty rows so.
        if fields.iter().all(|field| field.is_empty()) {
            continue;
        }
        if fields.len() != width {
            let text = format!("it has {} fields, the heading has {width}", fields.len());
            list.flaws.push(Flaw::at(place, text));
            continue;
        }
        let user = fields.remove(user_at).to_vec();
        match check_user(&user) {
            Ok(()) => list.people.push(Person { user, others: fields, place }),
            Err(failure) => list.flaws.push(Flaw::at(place, failure.to_string())),
        }
    }
    let repeated = repeated(&list.people);
    list.flaws.extend(repeated);
    Ok(list)
}

/// The first in the heading, outside of quotation marks.
fn separator(text: &[u8]) -> u8 {
    let line = lines(text).next().map_or(&b""[..], |(_, line)| line);
    let mut is_quoted = false;
    let separator = line.iter().find(|&&b| {
        is_quoted ^= b == b'"';
        !is_quoted && SEPARATORS.contains(&b)
    });
    separator.copied().unwrap_or(SEPARATORS[0])
}

/// Names, and other spellings of names, that stand further up.
fn repeated(people: &[Person]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut spellings: HashMap<_, &Person> = HashMap::with_capacity(people.len());
    let mut names: HashSet<&[u8]> = HashSet::with_capacity(people.len());
    for person in people {
        let user = Quoted(&person.user);
        if mistakes::of_name(&person.user) == Some(NameError::NotUtf8) {
            flaws.push(Flaw::at(
                person.place,
                format!("{user} isn't UTF-8: save the list as UTF-8"),
            ));
        }
        let first = *spellings.entry(name::key(&person.user)).or_insert(person);
        if !names.insert(&person.user) {
            let text = format!("{user} is in line {} already", first.place);
            flaws.push(Flaw::at(person.place, text));
        } else if first.place != person.place {
            let text = format!(
                "{user} is another spelling of {} in line {}, and others may take them for one person",
                Quoted(&first.user),
                first.place
            );
            flaws.push(Flaw::at(person.place, text));
        }
    }
    flaws
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &[u8]) -> Result<Vec<String>, String> {
        let list = read(text, "user", &["start_pin"]).map_err(|flaw| flaw.text.into_owned())?;
        let shown = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let people = list.people.iter().map(|person| {
            let others = list.columns.iter().zip(&person.others);
            let others: Vec<String> = others
                .map(|(column, field)| format!("{}={}", shown(column), shown(field)))
                .collect();
            format!("{}: {} {}", person.place, shown(&person.user), others.join(" "))
        });
        let flaws = list.flaws.iter().map(|flaw| format!("{}! {}", flaw.place.unwrap(), flaw.text));
        Ok(people.chain(flaws).collect())
    }

    #[test]
    fn columns_are_found_by_their_names_whatever_separates_them() {
        let expected = ["2: alice Name=A, B; C mail=", "3: bob Name= mail=b@x"];
        for text in [
            "Name,User,mail\r\n\"A, B; C\",alice,\r\n,bob,b@x\r\n",
            "Name;User;mail\n\"A, B; C\";alice;\n;bob;b@x\n",
            "Name\tUser\tmail\n\"A, B; C\"\talice\t\n\tbob\tb@x",
            "\u{feff}Name, USER ,mail\n\"A, B; C\" , alice,\n,bob,b@x\n,,\n",
        ] {
            assert_eq!(told(text.as_bytes()).unwrap(), expected, "{text}");
        }
        assert_eq!(told(b"\"user\"\n# not\n\nalice\n\"#bob\"").unwrap(), ["4: alice ", "5: #bob "]);
        assert_eq!(told(b"\"a;b\",user\nx,alice\n").unwrap(), ["2: alice a;b=x"]);
    }

    #[test]
    fn a_list_without_a_usable_heading_is_refused_as_a_whole() {
        for text in ["", "\n# user\n", "alice\nbob\n", "alice,user2\n"] {
            let refused = told(text.as_bytes()).unwrap_err();
            assert!(refused.starts_with("its first line must be a heading"), "{text}: {refused}");
        }
        for text in ["user,mail,MAIL\n", "user,User\n", "user,Start_PIN\n"] {
            let refused = told(text.as_bytes()).unwrap_err();
            assert!(refused.starts_with("two columns would be called"), "{text}: {refused}");
        }
    }

    #[test]
    fn every_flaw_is_told_with_its_line() {
        let text = "user,mail\nalice\nbob,\"x\n,c@x\nd e,\nf:g,\nbob,1\nBob,2\nbob,3\nh,4,5\n";
        assert_eq!(
            told(text.as_bytes()).unwrap(),
            [
                "7: bob mail=1",
                "8: Bob mail=2",
                "9: bob mail=3",
                "2! it has 1 fields, the heading has 2",
                "3! a quotation mark is unbalanced",
                "4! a user name can't be empty",
                "5! a user name can't contain blanks or control characters",
                "6! a user name can't contain a colon: HTTP ends the name there",
                "10! it has 3 fields, the heading has 2",
                "8! \"Bob\" is another spelling of \"bob\" in line 7, and others may take them for one person",
                "9! \"bob\" is in line 7 already",
            ]
        );
        let latin = told(b"user\njos\xe9\n").unwrap();
        assert!(latin[1].starts_with("2! \"jos\\xe9\" isn't UTF-8"), "{latin:?}");
    }
}
