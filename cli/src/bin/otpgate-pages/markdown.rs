//! A page of docs/ as a man page: what those pages use of Markdown, and no more.

use std::fmt::Write;

/// Text in roff: no character of it does anything.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            _ => out.push(c),
        }
    }
    out
}

/// Text on lines short enough for people who read the source, none of which is a request.
pub fn filled(text: &str) -> String {
    let mut out = String::new();
    let mut len = 0;
    for word in text.split_ascii_whitespace() {
        if len > 0 && len + 1 + word.len() > 76 {
            out.push('\n');
            len = 0;
        } else if len > 0 {
            out.push(' ');
            len += 1;
        }
        if len == 0 && word.starts_with(['.', '\'']) {
            out.push_str("\\&");
        }
        out.push_str(word);
        len += word.len();
    }
    out.push('\n');
    out
}

/// Lines as they are.
pub fn verbatim(lines: &[&str]) -> String {
    let mut out = String::from(".EX\n");
    for line in lines {
        // The other character that begins a request is escaped anyway.
        let guard = if line.starts_with('.') { "\\&" } else { "" };
        writeln!(out, "{guard}{}", escaped(line)).expect("writing to memory");
    }
    out + ".EE\n"
}

/// Code, emphasis and links. A link to a page that has a man page names that.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[', '\\']) {
        let (before, after) = rest.split_at(at);
        out.push_str(&escaped(before));
        let delimited = |mark: &str| {
            let text = after.strip_prefix(mark)?;
            // A star alone is one: "hotp *" isn't the beginning of anything.
            (!text.starts_with(' ')).then(|| text.split_once(mark)).flatten()
        };
        let link = || {
            let (text, after) = after.strip_prefix('[')?.split_once("](")?;
            let (target, after) = after.split_once(')')?;
            (!text.contains(']')).then_some((text, target, after))
        };
        rest = if let Some((code, after)) = delimited("`") {
            write!(out, "\\fB{}\\fR", escaped(code)).expect("writing to memory");
            after
        } else if let Some((strong, after)) = delimited("**") {
            write!(out, "\\fB{}\\fR", inline(strong)).expect("writing to memory");
            after
        } else if let Some((emphasis, after)) = delimited("*") {
            write!(out, "\\fI{}\\fR", inline(emphasis)).expect("writing to memory");
            after
        } else if let Some((text, target, after)) = link() {
            out.push_str(&match (text, target) {
                ("command.md", _) => "\\fBotpgate\\fR(1)".to_owned(),
                (text, target) if text == target => format!("\\fI{}\\fR", escaped(text)),
                _ => inline(text),
            });
            after
        } else {
            let escape = after.strip_prefix('\\').and_then(|after| after.chars().next());
            let c = escape.or(after.chars().next()).expect("it was found");
            out.push_str(&escaped(&c.to_string()));
            &after[c.len_utf8() + usize::from(escape.is_some())..]
        };
    }
    out + &escaped(rest)
}

/// Cells of a table's line. A stroke within code is none.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_code = false;
    for c in line.trim().trim_matches('|').chars() {
        match c {
            '|' if !is_code => cells.push(String::new()),
            _ => {
                is_code ^= c == '`';
                cells.last_mut().expect("there is one").push(c);
            }
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// A table: the first cell names what the others are about.
fn table(lines: &[&str]) -> String {
    let heads = cells(lines[0]);
    let mut out = String::new();
    for line in &lines[2..] {
        let cells = cells(line);
        let told: Vec<String> = (heads.iter().zip(&cells).skip(1))
            .map(|(head, cell)| match heads.len() {
                0..=2 => inline(cell),
                _ => format!("{}: {}", inline(head), inline(cell)),
            })
            .collect();
        write!(out, ".TP\n{}\n{}", inline(&cells[0]), filled(&told.join("; ")))
            .expect("writing to memory");
    }
    out
}

/// The sections of a page, without its title: what comes first stands under `first`.
pub fn sections(page: &str, first: &str) -> String {
    let mut out = format!(".SH {first}\n");
    let lines: Vec<&str> = page.lines().skip(1).collect();
    // The first paragraph of a section has its space from the heading.
    let mut begins = true;
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        let end = |belongs: &dyn Fn(&str) -> bool| {
            let rest = lines[at + 1..].iter().position(|line| !belongs(line));
            rest.map_or(lines.len(), |len| at + 1 + len)
        };
        let next = match line {
            "" => at + 1,
            _ if line.starts_with("## ") => {
                writeln!(out, ".SH {}", escaped(&line[3..].to_uppercase())).expect("memory");
                begins = true;
                at += 1;
                continue;
            }
            _ if line.starts_with("    ") => {
                let mut next = end(&|line| line.starts_with("    ") || line.is_empty());
                while lines[next - 1].is_empty() {
                    next -= 1;
                }
                let code: Vec<&str> =
                    lines[at..next].iter().map(|line| line.get(4..).unwrap_or("")).collect();
                let space = if begins { "" } else { ".PP\n" };
                write!(out, "{space}.RS 4\n{}.RE\n", verbatim(&code)).expect("memory");
                next
            }
            _ if line.starts_with('|') => {
                let next = end(&|line| line.starts_with('|'));
                out += &table(&lines[at..next]);
                next
            }
            _ if line.starts_with("- ") => {
                let next = end(&|line| line.starts_with("  "));
                let text = lines[at..next].join(" ");
                write!(out, ".IP \\(bu 3\n{}", filled(&inline(&text[2..]))).expect("memory");
                next
            }
            _ => {
                let is_text = |line: &str| {
                    !line.is_empty()
                        && !["|", "- ", "    ", "## "].iter().any(|s| line.starts_with(s))
                };
                let next = end(&is_text);
                let heading = if begins { "" } else { ".PP\n" };
                write!(out, "{heading}{}", filled(&inline(&lines[at..next].join(" "))))
                    .expect("memory");
                next
            }
        };
        begins &= line.is_empty();
        at = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_text_is_a_request() {
        assert_eq!(filled(".SH x"), "\\&.SH x\n");
        assert_eq!(verbatim(&[".x", "'y", "a\\b-"]), ".EX\n\\&.x\n\\(aqy\na\\eb\\-\n.EE\n");
    }

    #[test]
    fn what_pages_use_of_markdown_is_known() {
        let page = "# T\n\nOne `a-b` *c*\n**d** [e](f.md) \\*.\n\n## More\n\n- x\n  y\n\n| | b |\n|---|---|\n| `p|q` | r |\n\n    code\n";
        assert_eq!(
            sections(page, "DESCRIPTION"),
            ".SH DESCRIPTION\nOne \\fBa\\-b\\fR \\fIc\\fR \\fBd\\fR e *.\n.SH MORE\n.IP \\(bu 3\nx y\n.TP\n\\fBp|q\\fR\nr\n.PP\n.RS 4\n.EX\ncode\n.EE\n.RE\n"
        );
    }
}
