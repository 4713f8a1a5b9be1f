//! `otpgate trust`, `untrust` and `always`.

mod common;

use std::fs;

use common::Site;

const KEY: &str = "3132333435363738393031323334353637383930";

fn site() -> Site {
    let site = Site::ready();
    fs::write(site.users(), format!("HOTP alice 1234 {KEY}\nHOTP bob - {KEY}\n")).unwrap();
    site
}

fn pragmas(site: &Site) -> Vec<String> {
    site.content().lines().filter(|line| line.starts_with("#@")).map(str::to_owned).collect()
}

#[test]
fn networks_are_added_and_end_one_by_one_or_all() {
    let site = site();
    let ran = site.run(&["trust", "alice", "192.0.2.0/24", "2001:db8::/32"], "");
    assert_eq!(
        ran.is(0).out,
        "the PIN of \"alice\" alone is enough from 192.0.2.0/24, 2001:db8::/32\n"
    );
    site.run(&["trust", "alice", "203.0.113.7/32", "192.0.2.0/24"], "").is(0);
    assert_eq!(pragmas(&site), ["#@ trust alice 192.0.2.0/24,2001:db8::/32,203.0.113.7/32"]);
    let verify =
        |from: &str, pin: &str| site.run(&["verify", "alice", "--address", from, "--dry-run"], pin);
    let granted = "granted-trusted: the PIN alone, from a trusted network\n";
    assert_eq!(verify("203.0.113.7", "1234\n").is(0).out, granted);
    verify("203.0.113.8", "1234\n").is(1);
    verify("203.0.113.7", "1235\n").is(1);
    site.run(&["untrust", "alice", "192.0.2.0/24"], "").is(0);
    assert_eq!(pragmas(&site), ["#@ trust alice 2001:db8::/32,203.0.113.7/32"]);
    let ran = site.run(&["untrust", "alice", "192.0.2.0/24"], "");
    ran.complains_of("has no network 192.0.2.0/24");
    site.run(&["untrust", "alice"], "").is(0);
    assert!(pragmas(&site).is_empty());
    verify("203.0.113.7", "1234\n").is(1);
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let site = site();
    let before = site.content();
    for (args, reason) in [
        (&["trust", "bob", "192.0.2.0/24"][..], "has no PIN that could be enough"),
        (&["trust", "carol", "192.0.2.0/24"], "is not listed"),
        (&["trust", "alice", "192.0.2.1"], "is not a network like"),
        (&["trust", "alice", "192.0.2.1/24"], "bits after the first 24 must be 0"),
        (&["untrust", "carol"], "is not listed"),
        (&["always", "carol"], "is not listed"),
    ] {
        site.run(args, "").complains_of(reason);
    }
    for args in [&["trust", "alice"][..], &["always", "alice", "coffee"]] {
        assert_eq!(site.run(args, "").status, 2);
    }
    assert_eq!(site.content(), before);
    let ran = site.run(&["trust", "alice", "0.0.0.0/0"], "");
    assert!(ran.is(0).err.contains("0.0.0.0/0 is everywhere"), "{}", ran.err);
}

#[test]
fn who_always_needs_a_code_needs_it_until_an_admin_takes_it_back() {
    let site = site();
    site.run(&["trust", "alice", "192.0.2.0/24"], "").is(0);
    let trust = "#@ trust alice 192.0.2.0/24";
    let verify = || site.run(&["verify", "alice", "--address", "192.0.2.7", "--dry-run"], "1234\n");
    for (args, line) in [
        (&["always", "alice"][..], "#@ always alice"),
        (&["always", "alice", "apps"], "#@ always alice apps"),
        (&["always", "alice"], "#@ always alice"),
    ] {
        site.run(args, "").is(0);
        assert_eq!(pragmas(&site), [trust, line]);
        verify().is(1);
    }
    // What a server has said stays with what an admin says, and goes with it.
    fs::write(site.users(), site.content() + "#@ always alice pin\n").unwrap();
    site.run(&["always", "alice", "apps"], "").is(0);
    assert_eq!(pragmas(&site), [trust, "#@ always alice apps", "#@ always alice pin"]);
    site.run(&["always", "alice", "--off"], "").is(0);
    assert_eq!(pragmas(&site), [trust]);
    verify().is(0);
}

#[test]
fn who_is_removed_and_added_again_inherits_nothing() {
    let site = site();
    site.run(&["trust", "alice", "192.0.2.0/24"], "").is(0);
    site.run(&["always", "alice"], "").is(0);
    site.run(&["rename", "alice", "alicia"], "").is(0);
    assert_eq!(pragmas(&site), ["#@ trust alicia 192.0.2.0/24", "#@ always alicia"]);
    site.run(&["remove", "alicia"], "").is(0);
    assert!(pragmas(&site).is_empty(), "{}", site.content());
    fs::write(site.users(), site.content() + &format!("HOTP alicia 1234 {KEY}\n")).unwrap();
    site.run(&["verify", "alicia", "--address", "192.0.2.7", "--dry-run"], "1234\n").is(1);
}

#[test]
fn show_tells_from_where_the_pin_is_enough_and_check_of_what_makes_codes_pointless() {
    let site = site();
    assert!(!site.run(&["show", "alice"], "").is(0).out.contains("PIN alone"));
    fs::write(
        site.users(),
        site.content()
            + "#@ allow trusted-networks=::/0\n#@ trust alice 192.0.2.0/24\n\
               #@ trust bob 192.0.2.0/24\n#@ trust carol 192.0.2.0/24\n",
    )
    .unwrap();
    let show = site.run(&["show", "alice"], "").is(0).out.clone();
    let expected = "\nPIN alone\n  own         192.0.2.0/24\n  everybody's  ::/0\n";
    assert!(show.ends_with(expected), "{show}");
    let json = site.run(&["show", "alice", "--json"], "").is(0).out.clone();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["trusted_networks"], serde_json::json!(["192.0.2.0/24"]));
    assert_eq!(json["allowed_networks"], serde_json::json!(["::/0"]));
    assert_eq!(json["always"], serde_json::Value::Null);
    let check = site.run(&["check"], "");
    let text = check.out.clone() + &check.err;
    for finding in [
        "#@ allow: ::/0 is everywhere: nobody who has a PIN needs a code",
        "#@ trust: \"bob\" has no PIN that could be enough",
        "#@ trust: \"carol\" is not listed",
    ] {
        assert!(text.contains(finding), "{finding}: {text}");
    }
    assert!(!text.contains("#@ trust: \"alice\""), "{text}");
    site.run(&["always", "alice"], "").is(0);
    let show = site.run(&["show", "alice"], "").is(0).out.clone();
    assert!(show.ends_with("  closed      #@ always: a code everywhere\n"), "{show}");
}
