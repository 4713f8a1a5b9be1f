//! Forms as browsers send them: `application/x-www-form-urlencoded`. Stricter than browsers need,
//! so that nobody can read a body in another way than we do.

use std::fmt;

use zeroize::Zeroizing;

/// The longest body, in bytes.
pub const MAX_BODY: usize = 4096;

/// The most fields.
pub const MAX_FIELDS: usize = 16;

/// The fields of a form. Wiped when dropped, and never shown: one of them may be a PIN.
pub struct Form(Vec<Field>);

struct Field {
    name: Zeroizing<Vec<u8>>,
    value: Zeroizing<Vec<u8>>,
}

/// Why a body is none of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// More than [`MAX_BODY`] bytes.
    TooLong,
    /// More than [`MAX_FIELDS`] fields.
    TooManyFields,
    /// A field without a name, or without `=`.
    NoField,
    /// A `%` without two hexadecimal digits behind it.
    BadEscape,
    /// A control character, which no field of one line can hold.
    ControlCharacter,
    /// Two fields have the same name.
    NameTwice,
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FormError::TooLong => write!(f, "the form is longer than {MAX_BODY} bytes"),
            FormError::TooManyFields => write!(f, "the form has more than {MAX_FIELDS} fields"),
            FormError::NoField => {
                f.write_str("the form has a field without a name or without \"=\"")
            }
            FormError::BadEscape => {
                f.write_str("the form has a \"%\" without two hexadecimal digits")
            }
            FormError::ControlCharacter => f.write_str("the form holds a control character"),
            FormError::NameTwice => f.write_str("the form has two fields of one name"),
        }
    }
}

impl std::error::Error for FormError {}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form with {} fields", self.0.len())
    }
}

/// Whether a Content-Type says that the body is such a form; with any parameters.
pub fn is_form(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|&b| b == b';').unwrap_or(content_type.len());
    content_type[..end].trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
}

impl Form {
    /// Reads the body of a request. Of an empty one, a form without fields.
    pub fn parse(body: &[u8]) -> Result<Form, FormError> {
        if body.len() > MAX_BODY {
            return Err(FormError::TooLong);
        }
        let mut form = Form(Vec::new());
        if body.is_empty() {
            return Ok(form);
        }
        for pair in body.split(|&b| b == b'&') {
            if form.0.len() == MAX_FIELDS {
                return Err(FormError::TooManyFields);
            }
            let equals = pair.iter().position(|&b| b == b'=').ok_or(FormError::NoField)?;
            let (name, value) = (decoded(&pair[..equals])?, decoded(&pair[equals + 1..])?);
            if name.is_empty() {
                return Err(FormError::NoField);
            }
            if form.0.iter().any(|field| field.name == name) {
                return Err(FormError::NameTwice);
            }
            form.0.push(Field { name, value });
        }
        Ok(form)
    }

    /// The value of the field, in whatever encoding the client has chosen: browsers send UTF-8.
    /// `None`: there is no such field.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let field = self.0.iter().find(|field| *field.name == name.as_bytes())?;
        Some(&field.value)
    }

    /// The same as text. `None`: there is no such field, or it isn't UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        str::from_utf8(self.get(name)?).ok()
    }
}

fn decoded(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, FormError> {
    // Never longer than what was sent: what is moved as it grows would stay in memory.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let byte = match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*bytes.next()?).to_digit(16);
                let byte = digit().zip(digit()).map(|(high, low)| (high * 16 + low) as u8);
                byte.ok_or(FormError::BadEscape)?
            }
            byte => byte,
        };
        if byte.is_ascii_control() {
            return Err(FormError::ControlCharacter);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_browsers_write_them() {
        for (body, name, expected) in [
            ("user=alice&pin=4711", "user", Some("alice")),
            ("user=alice&pin=4711", "pin", Some("4711")),
            ("user=alice&pin=4711", "code", None),
            ("pin=a+b%20c", "pin", Some("a b c")),
            ("pin=%2b%26%3D%25", "pin", Some("+&=%")),
            ("pin=", "pin", Some("")),
            ("pin=a=b", "pin", Some("a=b")),
            ("p%69n=1", "pin", Some("1")),
            ("user=j%C3%B6rg", "user", Some("j\u{f6}rg")),
            ("user=j\u{f6}rg", "user", Some("j\u{f6}rg")),
            ("user=a;pin=1", "user", Some("a;pin=1")),
            ("USER=a", "user", None),
            ("", "user", None),
        ] {
            let form = Form::parse(body.as_bytes()).unwrap();
            assert_eq!(form.text(name), expected, "{body}");
            assert_eq!(form.get(name), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_kept_as_bytes() {
        for body in [&b"user=j%F6rg"[..], b"user=j\xf6rg"] {
            let form = Form::parse(body).unwrap();
            assert_eq!((form.get("user"), form.text("user")), (Some(&b"j\xf6rg"[..]), None));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("a={}", "x".repeat(MAX_BODY - 1));
        let many =
            |count: usize| (0..count).map(|i| format!("f{i}=1")).collect::<Vec<_>>().join("&");
        assert!(Form::parse(many(MAX_FIELDS).as_bytes()).is_ok());
        assert!(Form::parse(&long.as_bytes()[..MAX_BODY]).is_ok());
        for (body, error) in [
            (&long[..], FormError::TooLong),
            (&many(MAX_FIELDS + 1), FormError::TooManyFields),
            ("a", FormError::NoField),
            ("=1", FormError::NoField),
            ("&", FormError::NoField),
            ("a=1&", FormError::NoField),
            ("a=1&&b=2", FormError::NoField),
            ("a=%", FormError::BadEscape),
            ("a=%4", FormError::BadEscape),
            ("a=%4&b=1", FormError::BadEscape),
            ("a=%zz", FormError::BadEscape),
            ("a=%+1", FormError::BadEscape),
            ("%=1", FormError::BadEscape),
            ("a=%00", FormError::ControlCharacter),
            ("a=\0", FormError::ControlCharacter),
            ("a=1%0d%0aX:+y", FormError::ControlCharacter),
            ("a=1\n", FormError::ControlCharacter),
            ("a%09=1", FormError::ControlCharacter),
            ("a=%7f", FormError::ControlCharacter),
            ("a=1&a=2", FormError::NameTwice),
            ("a=1&b=2&%61=1", FormError::NameTwice),
        ] {
            assert_eq!(Form::parse(body.as_bytes()).err(), Some(error), "{body:.40}");
        }
    }

    #[test]
    fn the_content_type_has_to_be_that_of_a_form() {
        for (content_type, expected) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded", true),
            ("application/x-www-form-urlencoded; charset=UTF-8", true),
            (" application/x-www-form-urlencoded ;a=b", true),
            ("", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("text/plain; application/x-www-form-urlencoded", false),
            ("application/x-www-form-urlencoded, text/plain", false),
            ("application/x-www-form-urlencodedx", false),
            ("application/json", false),
        ] {
            assert_eq!(is_form(content_type.as_bytes()), expected, "{content_type}");
        }
    }

    #[test]
    fn a_form_is_not_shown() {
        let form = Form::parse(b"user=alice&pin=4711").unwrap();
        assert_eq!(format!("{form:?}"), "Form with 2 fields");
    }
}
