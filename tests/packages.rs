//! What `make install` puts down, and what packages are made of. `make test-packages` tries the
//! packages themselves.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::root::Root;

const SOURCES: &str = env!("CARGO_MANIFEST_DIR");

fn source(name: &str) -> String {
    let path = Path::new(SOURCES).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// In the sources, with what `make build` has built for this very test.
fn make(arguments: &[String]) -> Output {
    let test = std::env::current_exe().expect("our own path");
    let target = test.ancestors().nth(3).expect("target/profile/deps/test");
    Command::new("make")
        .current_dir(SOURCES)
        .env("CARGO_TARGET_DIR", target)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .arg("--silent")
        .args(arguments)
        .output()
        .expect("make")
}

#[track_caller]
fn succeeds(arguments: &[String]) -> String {
    let output = make(arguments);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "make {arguments:?}: {text}");
    text
}

/// Every file and link below a directory, as a path from there.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.symlink_metadata().expect("its kind").is_dir() {
                directories.push(path);
            } else {
                let path = path.strip_prefix(root).expect("below the root");
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

fn into(root: &Root, verb: &str) -> Vec<String> {
    let destination = format!("DESTDIR={}", root.path().display());
    [verb, &destination, "PREFIX=/usr", "MODS_AVAILABLE=/etc/apache2/mods-available"]
        .map(str::to_owned)
        .into_iter()
        .chain([
            "NGINX_MODULES_ENABLED=/etc/nginx/modules-enabled".to_owned(),
            "LIBEXECDIR=/usr/lib/apache2/modules".to_owned(),
        ])
        .collect()
}

#[test]
fn what_is_installed_is_complete_and_uninstalling_leaves_nothing_of_it() {
    let root = Root::new();
    root.write("var/lib/otpgate/users", "# somebody's\n");
    let before = files(root.path());
    succeeds(&into(&root, "install"));
    let installed = files(root.path());
    for name in [
        "etc/apache2/mods-available/authn_otp.conf",
        "etc/apache2/mods-available/authn_otp.load",
        "etc/fail2ban/filter.d/otpgate.conf",
        "etc/fail2ban/jail.d/otpgate.conf",
        "etc/nginx/modules-enabled/50-mod-http-auth-otp.conf",
        "usr/bin/genotpurl",
        "usr/bin/otpgate",
        "usr/bin/otplock",
        "usr/bin/otptool",
        "usr/include/otpgate.h",
        "usr/lib/apache2/modules/mod_authn_otp.so",
        "usr/lib/libotpgate.a",
        "usr/lib/libotpgate.so",
        "usr/lib/nginx/modules/ngx_http_auth_otp_module.so",
        "usr/lib/pkgconfig/otpgate.pc",
        "usr/share/bash-completion/completions/otpgate",
        "usr/share/doc/otpgate/CHANGELOG.md",
        "usr/share/doc/otpgate/README.md",
        "usr/share/doc/otpgate/apache/example.conf",
        "usr/share/doc/otpgate/docs/quickstart.md",
        "usr/share/doc/otpgate/docs/recipes/fail2ban.md",
        "usr/share/doc/otpgate/docs/specification.md",
        "usr/share/doc/otpgate/examples/module.c",
        "usr/share/doc/otpgate/nginx/example.conf",
        "usr/share/doc/otpgate/users.example",
        "usr/share/fish/vendor_completions.d/otpgate.fish",
        "usr/share/man/man1/otpgate-add.1",
        "usr/share/man/man1/otpgate.1",
        "usr/share/man/man1/otptool.1",
        "usr/share/man/man5/otpgate-users.5",
        "usr/share/otpgate/pages/401.en.html",
        "usr/share/otpgate/pages/429.fr.html",
        "usr/share/otpgate/pages/503.var",
        "usr/share/otpgate/pages/apache.conf",
        "usr/share/otpgate/pages/nginx.conf",
        "usr/share/zsh/site-functions/_otpgate",
    ] {
        assert!(installed.contains(name), "{name} isn't installed: {installed:#?}");
    }

    for server in ["apache", "nginx"] {
        let name = format!("usr/share/otpgate/pages/{server}.conf");
        let text = std::fs::read_to_string(root.join(&name)).expect("a configuration");
        assert!(text.contains("/usr/share/otpgate/pages"), "{text}");
        assert!(!text.contains("/usr/local"), "{name} names a folder that isn't installed: {text}");
    }

    for page in installed.iter().filter(|name| name.ends_with(".md")) {
        let page = root.join(page);
        let text = std::fs::read_to_string(&page).expect("a page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            let there =
                target.contains("://") || page.parent().expect("a folder").join(target).exists();
            assert!(there, "{}: {link} isn't installed", page.display());
        }
    }

    succeeds(&into(&root, "uninstall"));
    assert_eq!(files(root.path()), before);
    assert!(!root.join("usr/share/doc/otpgate").exists());
    assert!(!root.join("usr/share/otpgate").exists());
}

#[test]
fn enabling_the_apache_module_loads_it_after_what_it_needs_and_sets_nothing() {
    let root = Root::new();
    succeeds(&into(&root, "install-apache"));
    let read = |name| {
        std::fs::read_to_string(root.join("etc/apache2/mods-available").join(name)).expect(name)
    };
    assert_eq!(
        read("authn_otp.load"),
        "# Depends: auth_basic authn_core authz_user\n\
         LoadModule authn_otp_module /usr/lib/apache2/modules/mod_authn_otp.so\n"
    );
    let configuration = read("authn_otp.conf");
    assert!(configuration.contains("#OTPAuthUsersFile "), "{configuration}");
    let active: Vec<&str> = configuration
        .lines()
        .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
        .collect();
    assert_eq!(active, [""; 0]);
}

fn modules() -> [PathBuf; 2] {
    ["build/mod_authn_otp.so", "build/ngx_http_auth_otp_module.so"].map(|name| {
        let path = Path::new(SOURCES).join(name);
        assert!(path.exists(), "{} is missing: run `make build`", path.display());
        path
    })
}

#[test]
fn no_path_of_the_build_is_in_a_stripped_module() {
    let root = Root::new();
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"))
        .expect("where crates are");
    for module in modules() {
        let stripped = root.join("stripped.so");
        let status =
            Command::new("strip").arg("-o").arg(&stripped).arg(&module).status().expect("strip");
        assert!(status.success());
        let content = std::fs::read(&stripped).expect("the stripped module");
        let has = |text: &str| memchr::memmem::find(&content, text.as_bytes()).is_some();
        assert!(
            has("src/gate/"),
            "{}: no places of panics: the test looks in vain",
            module.display()
        );
        for path in [SOURCES, &home] {
            assert!(!has(&format!("{path}/")), "{} has {path}", module.display());
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_c_of_the_modules_is_hardened() {
    for name in ["build/mod_authn_otp.o", "build/nginx-ngx_http_auth_otp_module.o"] {
        let path = Path::new(SOURCES).join(name);
        let output =
            Command::new("readelf").args(["--notes", "--symbols", "--wide"]).arg(&path).output();
        let text =
            String::from_utf8_lossy(&output.expect("readelf, of binutils").stdout).into_owned();
        assert!(text.contains("IBT, SHSTK"), "{name} isn't built with -fcf-protection");
        assert!(
            text.contains("__stack_chk_fail"),
            "{name} isn't built with -fstack-protector-strong"
        );
    }
}

#[test]
fn a_rust_that_is_too_old_is_told_before_anything_is_built() {
    succeeds(&["need-rust".to_owned()]);
    let output = make(&["need-rust".to_owned(), "RUST_VERSION=999.1".to_owned()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    for word in
        ["Rust 999.1 or newer is needed, and here is 1.", "rustc-web", "rustc-1.89", "rustup"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
}

/// The README's two commands begin with these, on machines that have neither server.
#[test]
fn missing_packages_are_asked_for_where_no_apxs_is_yet() {
    for target in ["deps", "demo-deps", "test-deps"] {
        let text = succeeds(&["--dry-run".to_owned(), target.to_owned(), "APXS=".to_owned()]);
        assert!(text.contains("apache2-dev"), "{target}: {text}");
    }
}

#[test]
fn packages_have_the_version_of_the_crates() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = source("packaging/debian/changelog");
    assert!(changelog.starts_with(&format!("otpgate ({version}-")), "{changelog}");
    let spec = source("packaging/otpgate.spec");
    assert!(
        spec.lines().any(|line| line.split_whitespace().eq(["Version:", version])),
        "{version}"
    );
}
