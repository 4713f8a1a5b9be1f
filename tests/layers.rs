//! The library's modules use each other in one direction: none of its folders is used by what it
//! uses itself.
//!
//! `cargo test --test layers -- --nocapture` prints who uses whom, for Graphviz.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who uses whom, and a place where: a node is `src/x.rs` with all of `src/x/`.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry of src").path()) {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules that a file's path stands for, from the crate's root on: none for lib.rs.
fn module_of(file: &Path) -> Vec<String> {
    let relative = file.strip_prefix(source()).expect("a file of src").with_extension("");
    let mut module: Vec<String> =
        relative.iter().map(|part| part.to_str().expect("a name in UTF-8").to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// What is compiled for users: without comments and without items for tests. As many lines as
/// before; and the modules in files of their own that are for tests.
fn without_tests(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines = Vec::new();
    let mut test_modules = Vec::new();
    /// Between `#[cfg(test)]` and the end of its item.
    enum Item<'a> {
        Begins,
        EndsBefore(&'a str),
    }
    let mut skipped = None;
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        let indent = &code[..code.len() - code.trim_start().len()];
        let trimmed = code.trim();
        match skipped {
            None if trimmed == "#[cfg(test)]" => skipped = Some(Item::Begins),
            None => {
                lines.push(code);
                continue;
            }
            // Further attributes of the same item.
            Some(Item::Begins) if trimmed.starts_with("#[") => {}
            Some(Item::Begins) if trimmed.ends_with('{') => {
                skipped = Some(Item::EndsBefore(indent))
            }
            Some(Item::Begins) => {
                test_modules
                    .extend(trimmed.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')));
                skipped = None;
            }
            Some(Item::EndsBefore(outer)) if indent == outer && trimmed.starts_with('}') => {
                skipped = None
            }
            Some(Item::EndsBefore(_)) => {}
        }
        lines.push("");
    }
    (lines, test_modules)
}

/// The first names of paths behind `prefix`, with the lines in which they stand: of `crate::a::b`
/// and of `crate::{a::b, c}`.
fn first_names<'a>(text: &'a str, prefix: &str) -> Vec<(usize, &'a str)> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let name_at = |at: usize| {
        let rest = &text[at..];
        &rest[..rest.bytes().position(|byte| !is_word(byte)).unwrap_or(rest.len())]
    };
    let mut names = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        // `super::` behind another one, or a longer word.
        if text[..at].bytes().next_back().is_some_and(|byte| is_word(byte) || byte == b':') {
            continue;
        }
        let line = 1 + text[..at].matches('\n').count();
        let after = at + prefix.len();
        if !text[after..].starts_with('{') {
            names.push((line, name_at(after)));
            continue;
        }
        let (mut depth, mut is_first) = (0, true);
        for (index, byte) in text[after..].bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' if depth == 1 => break,
                b'}' => depth -= 1,
                b',' if depth == 1 => is_first = true,
                _ if depth == 1 && is_first && is_word(byte) => {
                    names.push((line, name_at(after + index)));
                    is_first = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn uses() -> Uses {
    let files: Vec<_> = rust_files(&source())
        .into_iter()
        .map(|path| (module_of(&path), fs::read_to_string(&path).expect("a file of src"), path))
        .filter(|(module, ..)| !module.is_empty())
        .collect();
    let nodes: BTreeSet<&str> = files.iter().map(|(module, ..)| module[0].as_str()).collect();
    let for_tests: BTreeSet<Vec<String>> = files
        .iter()
        .flat_map(|(module, text, _)| {
            let of_this = |name: &str| [module.as_slice(), &[name.to_owned()]].concat();
            without_tests(text).1.into_iter().map(of_this).collect::<Vec<_>>()
        })
        .collect();
    let mut uses: Uses = nodes.iter().map(|node| ((*node).to_owned(), BTreeMap::new())).collect();
    for (module, text, path) in &files {
        if (1..=module.len()).any(|len| for_tests.contains(&module[..len])) {
            continue;
        }
        let code = without_tests(text).0.join("\n");
        let to_root = "super::".repeat(module.len());
        for (line, name) in
            ["crate::", &to_root].into_iter().flat_map(|prefix| first_names(&code, prefix))
        {
            if nodes.contains(name) && name != module[0] {
                let path = path.strip_prefix(source()).expect("a file of src");
                let used = uses.get_mut(&module[0]).expect("every file has a node");
                used.entry(name.to_owned())
                    .or_insert_with(|| format!("src/{}:{line}", path.display()));
            }
        }
    }
    uses
}

/// All that a node uses, directly or through others.
fn reached<'a>(uses: &'a Uses, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut new = vec![from];
    while let Some(node) = new.pop() {
        new.extend(uses[node].keys().map(String::as_str).filter(|used| reached.insert(*used)));
    }
    reached
}

#[test]
fn no_folder_is_used_by_what_it_uses() {
    let uses = uses();
    assert!(uses["gate"].contains_key("decide"), "the test looks for uses in vain: {uses:?}");
    println!("digraph layers {{");
    for (node, used) in &uses {
        println!("    {node} -> {{ {} }}", used.keys().cloned().collect::<Vec<_>>().join(" "));
    }
    println!("}}");
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|node| (node.as_str(), reached(&uses, node))).collect();
    let mut circles = String::new();
    for (node, used) in &uses {
        for (other, place) in
            used.iter().filter(|(other, _)| reached[other.as_str()].contains(node.as_str()))
        {
            circles += &format!("    {node} -> {other}, at {place} for one\n");
        }
    }
    assert!(circles.is_empty(), "each of these is a part of a circle:\n{circles}");
}

#[test]
fn paths_are_found_in_every_form_and_not_in_tests_or_comments() {
    let text = "use crate::a::B;\nuse crate::{b, c::{D, e}, f as g};\n// crate::h\nfn i() -> crate::j::K { mycrate::l() }\n\
                #[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::m;\n}\nuse super::n::O;\nuse super::super::p;\n\
                #[cfg(test)]\nmod q;\nuse crate::r;\n";
    let (lines, test_modules) = without_tests(text);
    assert_eq!(test_modules, ["q"]);
    let code = lines.join("\n");
    assert_eq!(
        first_names(&code, "crate::"),
        [(1, "a"), (2, "b"), (2, "c"), (2, "f"), (4, "j"), (14, "r")]
    );
    assert_eq!(first_names(&code, "super::"), [(10, "n"), (11, "super")]);
    assert_eq!(first_names(&code, "super::super::"), [(11, "p")]);
}
