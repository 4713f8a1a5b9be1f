//! Every link in our pages leads somewhere: to a file that is there, and to a heading that it has. The book's table of
//! contents has every page, and a long page's list of sections every section. Tables are whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(page: &Path) -> String {
    let path = top().join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Markdown below a folder, relative to the top.
fn pages_below(folder: &str) -> Vec<PathBuf> {
    files_below(folder, "md")
}

fn files_below(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top().join(&folder)).expect("a folder").flatten() {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn all_pages() -> Vec<PathBuf> {
    let others =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "packaging/README.md"];
    others.into_iter().map(PathBuf::from).chain(pages_below("docs")).collect()
}

/// The text without what is shown as it stands: fenced and indented blocks, and `spans` of code. Links don't work there.
/// A span's letters stay where `keep_spans`, since headings may have them.
fn prose(text: &str, keep_spans: bool) -> String {
    let mut prose = String::new();
    let (mut fenced, mut after_blank) = (false, true);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let indented = line.starts_with("    ") && (after_blank || prose.is_empty());
        if fenced || indented {
            continue;
        }
        after_blank = line.trim().is_empty();
        prose.push_str(line);
        prose.push('\n');
    }
    if keep_spans {
        return prose;
    }
    let outside = prose.split('`').step_by(2);
    outside.collect::<Vec<_>>().join("")
}

/// Where the links of a text lead: `[…](target)`, and `[…]: target` at the start of a line.
fn targets(text: &str) -> Vec<String> {
    let prose = prose(text, false);
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = prose.lines().filter(|line| line.starts_with('[')).filter_map(|line| {
        let (_, target) = line.split_once("]: ")?;
        Some(target)
    });
    let targets = inline.chain(defined).map(|target| target.split_whitespace().collect());
    targets.collect()
}

/// The names of a page's headings, as GitHub and mdBook derive them: lower case, blanks as hyphens, no punctuation; the
/// second of a name has `-1` behind it.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text, true).lines() {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let name: String = heading
            .trim()
            .chars()
            .filter_map(|letter| match letter {
                ' ' => Some('-'),
                '-' | '_' => Some(letter),
                _ if letter.is_alphanumeric() => Some(letter),
                _ => None,
            })
            .flat_map(char::to_lowercase)
            .collect();
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|it| !anchors.contains(it));
        anchors.insert(free.expect("numbers don't end"));
    }
    anchors
}

/// The target of a link on a page as a path from the top, without `..`.
fn resolved(page: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in page.parent().expect("a file's folder").join(target).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{}: {target}", page.display()),
            part => path.push(part),
        }
    }
    path
}

/// What is wrong with a link.
fn fault(page: &Path, target: &str) -> Option<String> {
    if ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let path = if path.is_empty() { page.to_owned() } else { resolved(page, path) };
    if !top().join(&path).exists() {
        return Some("no such file".to_owned());
    }
    let anchor = anchor?;
    (!anchors(&text_of(&path)).contains(anchor)).then(|| "no such heading".to_owned())
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    let mut links = 0;
    for page in all_pages() {
        for target in targets(&text_of(&page)) {
            links += 1;
            if let Some(fault) = fault(&page, &target) {
                faults.push(format!("{}: {target}: {fault}", page.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(links > 200, "only {links} links found: the test looks for them in vain");
}

#[test]
fn a_dead_link_is_found_and_code_is_none() {
    let page = Path::new("docs/install.md");
    for (target, dead) in [
        ("quickstart.md", false),
        ("../README.md#coming-from-mod_authn_otp", false),
        ("#other-systems", false),
        ("https://rustup.rs", false),
        ("quickstart.html", true),
        ("quickstart.md#no-such-heading", true),
        ("#no-such-heading", true),
    ] {
        assert_eq!(fault(page, target).is_some(), dead, "{target}");
    }
    let text =
        "# One\n\n[a](b.md) `[c](d.md)`\n\n    [e](f.md)\n\n```\n[g](h.md)\n```\n\n[i]: j.md\n";
    assert_eq!(targets(text), ["b.md", "j.md"]);
    assert_eq!(anchors("# A b\n\n## A `b`!\n"), ["a-b", "a-b-1"].map(str::to_owned).into());
}

#[test]
fn the_table_of_contents_has_every_page_and_no_other() {
    let summary = Path::new("docs/SUMMARY.md");
    let listed: Vec<PathBuf> =
        targets(&text_of(summary)).iter().map(|target| resolved(summary, target)).collect();
    for page in pages_below("docs") {
        let times = listed.iter().filter(|listed| **listed == page).count();
        let wanted = usize::from(page != summary);
        assert_eq!(times, wanted, "{} is in docs/SUMMARY.md {times} times", page.display());
    }
    for page in all_pages() {
        let is_listed = listed.contains(&page);
        assert!(is_listed || page == summary, "{} isn't in docs/SUMMARY.md", page.display());
    }
}

/// Where rows stand that no Markdown reader takes for a part of a table: without a head, as behind a blank line in the
/// middle of one, or with more cells than the head.
fn rows_outside_tables(text: &str) -> Vec<usize> {
    let cells = |row: &str| row.replace("\\|", "").matches('|').count();
    let is_ruler = |row: &str| row.contains("--") && row.bytes().all(|b| b"|-: ".contains(&b));
    let lines: Vec<&str> = text.lines().collect();
    let (mut found, mut fenced, mut head) = (Vec::new(), false, None);
    for (number, line) in lines.iter().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || !line.starts_with('|') {
            head = None;
            continue;
        }
        let begins = lines.get(number + 1).is_some_and(|next| is_ruler(next));
        let head = *head.get_or_insert(if begins { cells(line) } else { 0 });
        if cells(line) != head {
            found.push(number + 1);
        }
    }
    found
}

#[test]
fn every_row_of_a_table_is_part_of_it() {
    let head = "| a | b |\n|---|:--|\n";
    for (rows, found) in [
        ("| 1 | 2 |\n| 3 | x \\| y |\n", &[][..]),
        ("| 1 | 2 |\n\n| 3 | 4 |\n| 5 | 6 |\n", &[5, 6]),
        ("| 1 | 2 | 3 |\n| 1 |\n", &[3, 4]),
        ("\n```\n| 1 |\n```\n", &[]),
    ] {
        assert_eq!(rows_outside_tables(&format!("{head}{rows}")), found, "{rows}");
    }
    let mut tables = 0;
    for page in all_pages() {
        let text = text_of(&page);
        tables += text.matches("\n|---").count();
        let found = rows_outside_tables(&text);
        assert!(found.is_empty(), "{}: a table doesn't have its lines {found:?}", page.display());
    }
    assert!(tables > 50, "only {tables} tables found: the test looks for them in vain");
}

/// The list at the top of a page whose sections have numbers.
#[test]
fn the_specification_lists_all_its_sections() {
    let text = text_of(Path::new("docs/specification.md"));
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let listed: Vec<String> = text
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()) && line.contains(". ["))
        .map(|line| line.split("](").next().expect("a part").replacen('[', "", 1))
        .collect();
    assert_eq!(listed, sections);
}

/// In the tables of docs/security.md, whatever looks like the name of a test is one.
#[test]
fn the_security_page_names_only_tests_that_are_there() {
    let text = text_of(Path::new("docs/security.md"));
    let is_name = |word: &&str| {
        let is_of_words = word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        is_of_words && word.matches('_').count() > 2 && !word.starts_with("auth_otp_")
    };
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<&str> = rows.flat_map(|row| row.split('`')).filter(is_name).collect();
    let mut sources = String::new();
    for folder in ["tests", "src", "cli/tests"] {
        for path in files_below(folder, "rs") {
            sources.push_str(&text_of(&path));
        }
    }
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(sources.contains(name), "docs/security.md: no test is called {name}");
    }
}

/// `make install-docs` lays the pages out as here; what they link to must be there as well.
#[test]
fn links_lead_somewhere_when_the_pages_are_installed() {
    let output = std::process::Command::new("make")
        .args(["--no-print-directory", "list-docs"])
        .current_dir(top())
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make runs");
    let installed = String::from_utf8(output.stdout).expect("names");
    let installed: BTreeSet<PathBuf> = installed.split_whitespace().map(PathBuf::from).collect();
    for page in pages_below("docs") {
        assert!(installed.contains(&page), "{} isn't installed", page.display());
    }
    for page in installed.iter().filter(|page| page.extension().is_some_and(|it| it == "md")) {
        for target in targets(&text_of(page)) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains(':') {
                continue;
            }
            let path = resolved(page, file);
            let is_there = installed.contains(&path);
            assert!(is_there, "{}: {target} isn't among what is installed", page.display());
        }
    }
}
