//! What a login does on any server: a table of situations, each with a scope of its own, so that
//! all of them fit one running server.

use otpgate::otp::Hash;

use super::common::programs;
use super::common::scope::htpasswd_line;
use super::common::server::PAPER_NEXT_HEADER;
use super::common::{Place, Reply, Request, Scope, Setting, Token, wait_until};
use super::trials::Situation;

/// Why six characters and more: the logs are searched for it.
const PIN: &str = "sesame9";
const WRONG_PIN: &str = "simsim8";

const LOOPBACK: &str = "127.0.0.1";
const HOME: &str = "192.0.2.7";
const CAFE: &str = "198.51.100.23";

/// What not every server offers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capability {
    /// Another provider decides where otpgate doesn't know the user, or passes on what it could
    /// refuse.
    NextProvider,
    /// A client's address may come with the name of the interface, behind a proxy as well.
    InterfaceInAddress,
}

/// A situation, and what has to happen in it.
struct Case {
    name: &'static str,
    scope: Scope,
    run: Box<dyn Fn(&Place<'_>) + Send + Sync>,
    needs: Vec<Capability>,
}

impl Case {
    /// What happens can't happen on servers without it.
    fn needs(mut self, capability: Capability) -> Case {
        self.needs.push(capability);
        self
    }

    /// The same on a server that has no next provider: whoever is refused in spite of one is
    /// refused without.
    fn without_next_provider(mut self) -> Case {
        self.scope.second_provider.clear();
        self.scope.settings.retain(|(setting, _)| *setting != Setting::FallThrough);
        self
    }
}

fn case(scope: Scope, run: impl Fn(&Place<'_>) + Send + Sync + 'static) -> Case {
    Case { name: "", scope, run: Box::new(run), needs: Vec::new() }
}

macro_rules! table {
    ($($name:ident,)*) => {
        vec![$({
            let mut case = $name();
            case.name = stringify!($name);
            case.scope.name = case.name.to_owned();
            case
        }),*]
    };
}

fn all() -> Vec<Case> {
    table![
        // PIN and code.
        right_pin_and_code_is_granted,
        wrong_pin_is_refused_and_writes_nothing,
        code_without_its_pin_is_refused_and_writes_nothing,
        something_before_the_code_of_a_token_without_pin_is_refused,
        password_shorter_than_a_code_is_refused_and_not_counted,
        wrong_code_is_refused_and_counted,
        a_grant_ends_the_count_of_wrong_codes,
        wrong_code_after_wrong_pin_tells_nothing,
        hashed_pins_are_checked,
        a_hash_typed_as_pin_is_refused,
        a_pin_may_hold_any_printable_character,
        // PINs that are checked elsewhere.
        pin_checked_elsewhere_is_asked_for,
        pin_checked_elsewhere_may_be_hashed_in_many_ways,
        user_whom_the_pin_file_lacks_is_refused,
        pin_that_nobody_can_check_is_refused,
        pin_file_is_read_as_its_tools_do,
        changed_pin_file_counts_at_once,
        // Which code.
        replay_without_linger_is_refused,
        lingering_code_is_granted_again_and_writes_nothing,
        code_ahead_within_the_window_moves_the_counter_past_it,
        code_beyond_the_window_is_refused,
        without_window_only_the_next_code_counts,
        older_code_is_refused_and_not_counted,
        skipped_code_is_refused_and_not_counted,
        expired_code_sent_again_is_refused_and_not_counted,
        hexadecimal_code_is_granted_in_any_case,
        hexadecimal_code_is_wrong_where_switched_off,
        code_in_two_groups_is_the_same_code,
        code_in_two_groups_follows_hashed_and_external_pins,
        blanks_elsewhere_are_not_taken_out,
        eight_digits,
        ten_digits_and_one,
        sha256_and_sha512_tokens,
        paper_codes_go_in_order_and_passed_ones_die,
        paper_code_is_told_with_its_number_and_how_many_are_left,
        paper_list_ends_with_its_last_code,
        right_pin_without_a_code_is_told_the_next_one_on_paper_where_the_user_is_known,
        who_isnt_let_in_isnt_told_the_next_code_on_paper,
        phone_and_paper_of_one_user_take_codes_of_two_lengths,
        old_type_names,
        mobile_otp,
        mobile_otp_with_something_before_the_code_is_refused,
        // Time tokens.
        time_codes_are_each_accepted_once,
        time_code_of_a_step_before_the_last_accepted_is_refused,
        time_code_beyond_the_window_is_refused,
        clock_that_is_off_has_a_window_of_its_own,
        // How long.
        idle_time_counts_from_the_last_use,
        idle_time_over_ends_the_code,
        idle_and_linger_time_both_bind,
        use_refreshes_the_idle_time,
        // Forgetting.
        forgotten_event_code_is_dead,
        forgotten_time_code_is_dead,
        forget_request_from_elsewhere_does_nothing,
        forget_request_does_nothing_where_switched_off,
        forget_request_for_an_expired_code_does_nothing,
        forget_request_by_word_takes_the_pin_and_nothing_else,
        forget_request_by_word_takes_hashed_and_external_pins,
        forget_request_by_word_is_none_without_a_pin,
        // Locking out.
        locked_after_so_many_wrong_codes,
        lockout_with_a_time_ends_by_itself,
        without_limit_nobody_is_locked,
        wrong_pins_lock_nobody_out,
        locked_user_stays_out_with_fall_through,
        // Trusted networks.
        pin_alone_is_enough_from_a_trusted_network_and_from_nowhere_else,
        pin_alone_is_enough_where_the_file_or_the_users_line_says_so,
        pin_alone_is_never_enough_for_a_user_without_a_pin,
        pin_alone_is_not_enough_for_a_user_who_always_needs_a_code,
        a_line_that_closes_something_for_nobody_knows_whom_closes_it_for_everybody,
        pin_alone_opens_no_token_that_is_locked_or_switched_off,
        pin_alone_lets_in_nobody_whom_the_place_does_not,
        wrong_pins_in_a_trusted_network_close_it_until_the_next_fresh_code,
        wrong_pins_that_were_tried_before_count_once_they_are_read_as_such,
        wrong_pins_without_a_limit_close_it_after_ten,
        a_fresh_code_ends_the_count_of_wrong_pins,
        wrong_pins_that_are_passed_on_close_it_too,
        // Passwords of programs.
        program_is_let_in_by_its_password_for_its_path_and_methods,
        program_is_let_in_where_the_file_says_so_and_the_user_does_not_close_it,
        programs_login_notes_its_hour_and_changes_nothing_else,
        program_that_is_not_allowed_is_refused_like_a_wrong_pin,
        wrong_passwords_of_programs_are_tries_and_lock_nobody,
        // Limits of the file.
        limits_of_the_file_stand_for_what_a_section_leaves_unset,
        limits_of_the_file_bind_a_laxer_section,
        a_stricter_section_stays_stricter_than_the_file,
        of_several_limits_of_the_file_the_strictest_holds,
        limits_of_the_file_end_a_lingering_code,
        limits_of_the_file_count_as_soon_as_they_are_edited,
        limits_at_fault_refuse_everybody_with_an_error_that_names_the_line,
        other_lines_for_otpgate_alone_stay_and_refuse_nobody,
        // Addresses.
        code_from_another_address_is_refused_if_asked_for,
        code_from_another_address_is_granted_by_itself,
        mapped_address_is_the_same_address,
        link_local_address_is_compared_without_its_interface,
        // Several tokens, several lines.
        two_tokens_of_one_user_both_work,
        wrong_code_counts_on_all_tokens_and_a_grant_clears_all,
        repeated_line_is_one_token,
        everything_else_in_the_file_stays,
        last_line_needs_no_end,
        line_ends_of_other_systems_stay,
        an_empty_users_file_knows_nobody,
        state_of_every_older_form_is_understood,
        // Names.
        unknown_user_is_refused,
        unknown_user_is_left_to_the_second_provider,
        listed_user_is_not_left_to_the_second_provider,
        name_that_differs_in_case_or_blanks_is_refused,
        another_spelling_of_a_listed_name_is_refused,
        listed_twins_are_two_users,
        name_set_apart_is_left_to_the_second_provider,
        name_that_is_not_utf8,
        name_cannot_forge_a_log_line,
        empty_name_is_refused,
        unreadable_line_denies_its_user_only,
        other_line_of_a_user_with_an_unreadable_one_still_grants,
        switched_off_token_denies_its_user,
        switched_off_token_leaves_the_other_alone,
        // Falling through.
        fall_through_passes_on_what_fails_before_the_code,
        fall_through_passes_no_wrong_code_on,
        // Whom a place lets in.
        user_who_is_not_required_is_refused_like_a_wrong_pin,
        users_and_members_of_groups_are_let_in_by_name_or_group,
        whoever_leaves_the_group_is_out_at_once,
        group_file_is_read_as_httpd_does,
        group_file_that_cannot_be_read_refuses_those_who_need_it,
        fall_through_passes_nobody_on_who_is_not_required,
        wrong_pins_of_those_who_are_not_required_stay_wrong_pins,
        forget_request_of_a_user_who_is_not_required_still_ends_the_code,
        many_requests_of_a_user_who_is_not_required_spend_nothing,
        a_user_who_is_not_required_has_as_many_tries_as_with_wrong_pins,
        // Odd requests.
        password_over_a_kibibyte_is_refused,
        control_characters_are_refused,
        request_without_credentials_is_asked_for_them,
        credentials_that_cannot_be_parsed_are_refused,
    ]
}

/// Those that say something about a server with these capabilities, and the names of the others.
pub fn on_a_server_with(capabilities: &[Capability]) -> (Vec<Situation>, Vec<&'static str>) {
    let is_offered = |case: &Case| case.needs.iter().all(|need| capabilities.contains(need));
    let (cases, others): (Vec<Case>, Vec<Case>) = all().into_iter().partition(is_offered);
    let has_next = capabilities.contains(&Capability::NextProvider);
    let cases =
        cases.into_iter().map(|case| if has_next { case } else { case.without_next_provider() });
    let cases = cases.map(|Case { scope, run, .. }| Situation { scope, run }).collect();
    (cases, others.iter().map(|case| case.name).collect())
}

fn alice() -> Token {
    Token::hotp("alice").pin(PIN)
}

fn bob() -> Token {
    Token::totp("bob").pin(PIN)
}

fn scope(tokens: &[&Token]) -> Scope {
    let scope = Scope::new("");
    tokens.iter().fold(scope, |scope, token| scope.token(token))
}

fn right_pin_and_code_is_granted() -> Case {
    // A name of its own, so that its line in the log can be counted.
    let trudy = Token::hotp("trudy").pin(PIN);
    case(scope(&[&trudy]), move |at| {
        at.login("trudy", trudy.password(0)).is(200, "granted-fresh");
        let users = at.users();
        assert_eq!(users.counter("trudy"), 1);
        assert_eq!(users.failures("trudy"), 0);
        assert_eq!(users.last_otp("trudy"), trudy.code(0));
        assert_eq!(users.address("trudy"), LOOPBACK);
        assert_eq!(at.server().decisions("granted-fresh", "trudy"), 1);
    })
}

fn wrong_pin_is_refused_and_writes_nothing() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxFailures, 3), move |at| {
        at.users().stays_the_same(|| {
            let right_code = format!("{WRONG_PIN}{}", alice.code(0));
            let wrong_code = format!("{WRONG_PIN}{}", alice.wrong_code());
            at.login("alice", right_code).is(401, "denied-pin");
            at.login("alice", wrong_code).is(401, "denied-pin");
        });
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn code_without_its_pin_is_refused_and_writes_nothing() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.users().stays_the_same(|| {
            at.login("alice", alice.code(0)).is(401, "denied-pin");
            at.login("alice", PIN).is_denied();
        });
    })
}

fn something_before_the_code_of_a_token_without_pin_is_refused() -> Case {
    let carol = Token::hotp("carol");
    case(scope(&[&carol]), move |at| {
        at.users().stays_the_same(|| {
            let password = format!("{PIN}{}", carol.code(0));
            at.login("carol", password).is(401, "denied-pin");
        });
        at.login("carol", carol.code(0)).is(200, "granted-fresh");
    })
}

fn password_shorter_than_a_code_is_refused_and_not_counted() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol"));
    case(scope(&[&alice, &carol]), move |at| {
        at.users().stays_the_same(|| {
            at.login("alice", "75522").is_denied();
            at.login("carol", &carol.code(0)[..5]).is_denied();
        });
    })
}

fn wrong_code_is_refused_and_counted() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        for (number, wrong) in alice.wrong_codes(3).iter().enumerate() {
            at.login("alice", alice.with(wrong)).is(401, "denied-code");
            assert_eq!(at.users().failures("alice"), number as i64 + 1);
            assert_eq!(at.users().counter("alice"), 0);
        }
    })
}

fn a_grant_ends_the_count_of_wrong_codes() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-code");
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        assert_eq!(at.users().failures("alice"), 0);
    })
}

fn wrong_code_after_wrong_pin_tells_nothing() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        let right = at.login("alice", format!("{WRONG_PIN}{}", alice.code(0)));
        let wrong = at.login("alice", format!("{WRONG_PIN}{}", alice.wrong_code()));
        assert_eq!(right.0.body, wrong.0.body);
        assert_eq!(right.result(), wrong.result());
        assert_eq!(right.status(), 401);
    })
}

const HASHES: [(&str, &str); 4] = [
    (
        "argon",
        "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHQ$UgIhFaHXoNNKA7q2PfSTthQPWCWdWyy0Q0v/NAy0a6w",
    ),
    ("bcrypt", "$2y$04$P1lBgH.ReR7u6iB.IJfVHOaAuXgtzcifRZIhWVk8GCoQ6u9j3uQbu"),
    (
        "sha512",
        "$6$saltsalt$VZDAORASeF6J1rd2Mil2wjTJOUQ5KZL/rtjM/INrXArkXEgEN85EwqrGUN2etfafC.AXIV96FFMooIuE46RQx/",
    ),
    ("sha256", "$5$saltsalt$G7IYwyb6vogyHX7W7Y7MAuY8T34XzBU51tQcN5kYvo."),
];

fn hashed_pins() -> Vec<(&'static str, Token)> {
    HASHES.iter().map(|(user, hash)| (*user, Token::hotp(user).hashed_pin(PIN, hash))).collect()
}

fn hashed_pins_are_checked() -> Case {
    let tokens: Vec<Token> = hashed_pins().into_iter().map(|(_, token)| token).collect();
    case(scope(&tokens.iter().collect::<Vec<_>>()), move |at| {
        for (user, token) in hashed_pins() {
            at.users().stays_the_same(|| {
                let password = format!("{WRONG_PIN}{}", token.code(0));
                at.login(user, password).is(401, "denied-pin");
            });
            at.login(user, token.password(0)).is(200, "granted-fresh");
            at.login(user, token.password(0)).is(200, "granted-reuse");
            at.login(user, token.with(&token.wrong_code())).is(401, "denied-code");
            at.login(user, token.password(1)).is(200, "granted-fresh");
        }
    })
}

fn a_hash_typed_as_pin_is_refused() -> Case {
    let tokens: Vec<Token> = hashed_pins().into_iter().map(|(_, token)| token).collect();
    case(scope(&tokens.iter().collect::<Vec<_>>()), move |at| {
        for ((user, hash), (_, token)) in HASHES.iter().zip(hashed_pins()) {
            at.login(user, format!("{hash}{}", token.code(0))).is(401, "denied-pin");
        }
    })
}

fn a_pin_may_hold_any_printable_character() -> Case {
    let pins = ["a:b:c", "-minus", "+plus", "#hash", "50%&<\"\\'>", "schlüssel"];
    let tokens: Vec<Token> = pins
        .iter()
        .enumerate()
        .map(|(number, pin)| Token::hotp(format!("user{number}")).pin(pin))
        .collect();
    case(scope(&tokens.iter().collect::<Vec<_>>()), move |at| {
        for (token, pin) in tokens.iter().zip(pins) {
            at.login(token.user(), format!("{WRONG_PIN}{}", token.code(0))).is(401, "denied-pin");
            eprintln!("the PIN is {pin}");
            at.login(token.user(), token.password(0)).is(200, "granted-fresh");
        }
    })
}

fn dave() -> Token {
    Token::hotp("dave").external_pin(PIN)
}

fn pin_checked_elsewhere_is_asked_for() -> Case {
    let dave = dave();
    case(scope(&[&dave]).pin_file("dave", PIN), move |at| {
        at.users().stays_the_same(|| {
            at.login("dave", format!("{WRONG_PIN}{}", dave.code(0))).is(401, "denied-pin");
            at.login("dave", format!("{WRONG_PIN}{}", dave.wrong_code())).is(401, "denied-pin");
            at.login("dave", dave.code(0)).is(401, "denied-pin");
            at.login("dave", format!("+{}", dave.code(0))).is(401, "denied-pin");
            at.login("dave", PIN).is_denied();
        });
        for counter in [0, 1] {
            at.login("dave", dave.password(counter)).is(200, "granted-fresh");
            at.login("dave", dave.password(counter)).is(200, "granted-reuse");
            at.login("dave", dave.with(&dave.wrong_code())).is(401, "denied-code");
            // What is remembered of a right PIN lets no wrong one in.
            at.login("dave", format!("{WRONG_PIN}{}", dave.code(counter))).is(401, "denied-pin");
        }
    })
}

fn pin_checked_elsewhere_may_be_hashed_in_many_ways() -> Case {
    const APR1: (&str, &str) = ("apr1", "$apr1$saltsalt$ZKLpZfanTDmtI647CTtXW/");
    let hashes: Vec<(&str, &str)> =
        HASHES.into_iter().filter(|(user, _)| *user != "argon").chain([APR1]).collect();
    let tokens: Vec<Token> =
        hashes.iter().map(|(user, _)| Token::hotp(user).external_pin(PIN)).collect();
    let scope = scope(&tokens.iter().collect::<Vec<_>>());
    let scope = hashes
        .iter()
        .fold(scope, |scope, (user, hash)| scope.pin_file_line(&format!("{user}:{hash}")));
    case(scope, move |at| {
        for ((user, hash), token) in hashes.iter().zip(&tokens) {
            at.users().stays_the_same(|| {
                at.login(user, format!("{WRONG_PIN}{}", token.code(0))).is(401, "denied-pin");
                at.login(user, format!("{hash}{}", token.code(0))).is(401, "denied-pin");
            });
            at.login(user, token.password(0)).is(200, "granted-fresh");
        }
    })
}

fn user_whom_the_pin_file_lacks_is_refused() -> Case {
    let dave = dave();
    case(scope(&[&dave]).pin_file("david", PIN).pin_file("Dave", PIN), move |at| {
        at.users().stays_the_same(|| {
            at.login("dave", dave.password(0)).is(401, "denied-pin");
        });
    })
}

fn pin_that_nobody_can_check_is_refused() -> Case {
    let dave = dave();
    case(scope(&[&dave]), move |at| {
        at.expect_log("no PIN provider or PIN file is configured");
        at.users().stays_the_same(|| {
            at.login("dave", dave.password(0)).is(401, "denied-pin");
            at.login("dave", format!("+{}", dave.code(0))).is(401, "denied-pin");
        });
    })
}

fn pin_file_is_read_as_its_tools_do() -> Case {
    let users = ["rest", "windows", "twice", "last"];
    let tokens = users.map(|user| Token::hotp(user).external_pin(PIN));
    let line = |user: &str, pin: &str| htpasswd_line(user, pin).trim_end().to_owned();
    let text = [
        "# PINs".to_owned(),
        String::new(),
        format!("#{}", line("rest", WRONG_PIN)),
        format!("{}:and more", line("rest", PIN)),
        format!("{}\r", line("windows", PIN)),
        line("twice", PIN),
        line("twice", WRONG_PIN),
        line("last", PIN),
    ];
    let scope =
        text.iter().fold(scope(&tokens.each_ref()), |scope, line| scope.pin_file_line(line));
    case(scope, move |at| {
        for (user, token) in users.iter().zip(&tokens) {
            at.login(user, format!("{WRONG_PIN}{}", token.code(0))).is(401, "denied-pin");
            at.login(user, token.password(0)).is(200, "granted-fresh");
        }
    })
}

fn changed_pin_file_counts_at_once() -> Case {
    let before = dave();
    let after = before.clone().external_pin("opendoor");
    let scope = scope(&[&before]).pin_file("dave", PIN).secret("opendoor");
    case(scope, move |at| {
        at.login("dave", before.password(0)).is(200, "granted-fresh");
        at.login("dave", before.password(0)).is(200, "granted-reuse");
        at.replace_pin_file(&htpasswd_line("dave", "opendoor"));
        at.login("dave", before.password(0)).is(401, "denied-pin");
        at.login("dave", after.password(0)).is(200, "granted-reuse");
        at.login("dave", after.password(1)).is(200, "granted-fresh");
    })
}

fn replay_without_linger_is_refused() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxLinger, 0), move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is(401, "denied-expired");
        });
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn lingering_code_is_granted_again_and_writes_nothing() -> Case {
    let (alice, bob) = (alice(), bob());
    case(scope(&[&alice, &bob]).set(Setting::MaxLinger, 600), move |at| {
        let now = bob.password(bob.step());
        for (user, password) in [("alice", alice.password(0)), ("bob", now)] {
            at.login(user, &password).is(200, "granted-fresh");
            at.users().stays_the_same(|| {
                for _ in 0..3 {
                    at.login(user, &password).is(200, "granted-reuse");
                }
            });
        }
    })
}

fn code_ahead_within_the_window_moves_the_counter_past_it() -> Case {
    let alice = alice().counter(10);
    case(scope(&[&alice]).set(Setting::MaxOffset, 4), move |at| {
        at.login("alice", alice.password(13)).is(200, "granted-fresh");
        assert_eq!(at.users().counter("alice"), 14);
        at.login("alice", alice.password(18)).is(200, "granted-fresh");
        assert_eq!(at.users().counter("alice"), 19);
    })
}

fn code_beyond_the_window_is_refused() -> Case {
    let alice = alice().counter(10);
    case(scope(&[&alice]).set(Setting::MaxOffset, 4), move |at| {
        at.login("alice", alice.password(15)).is(401, "denied-code");
        assert_eq!(at.users().counter("alice"), 10);
        assert_eq!(at.users().failures("alice"), 1);
    })
}

fn without_window_only_the_next_code_counts() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxOffset, 0), move |at| {
        at.login("alice", alice.password(1)).is(401, "denied-code");
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn older_code_is_refused_and_not_counted() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is(401, "denied-expired");
        });
        at.login("alice", alice.password(1)).is(200, "granted-reuse");
    })
}

fn skipped_code_is_refused_and_not_counted() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.login("alice", alice.password(3)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            for counter in 0..3 {
                at.login("alice", alice.password(counter)).is(401, "denied-expired");
            }
        });
    })
}

fn expired_code_sent_again_is_refused_and_not_counted() -> Case {
    let alice = alice().used(0, 700, LOOPBACK);
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.users().stays_the_same(|| {
            for _ in 0..3 {
                at.login("alice", alice.password(0)).is(401, "denied-expired");
            }
        });
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn hexadecimal_code_is_granted_in_any_case() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::AllowHex, "On"), move |at| {
        let lower = alice.with(&alice.hexadecimal_code(0));
        at.login("alice", &lower).is(200, "granted-fresh");
        at.login("alice", &lower).is(200, "granted-reuse");
        assert_eq!(at.users().counter("alice"), 1);
        let upper = alice.with(&alice.hexadecimal_code(1).to_uppercase());
        at.login("alice", upper).is(200, "granted-fresh");
        assert_eq!(at.users().counter("alice"), 2);
    })
}

fn hexadecimal_code_is_wrong_where_switched_off() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::AllowHex, "Off"), move |at| {
        let hexadecimal = alice.with(&alice.hexadecimal_code(0));
        at.login("alice", hexadecimal).is(401, "denied-code");
        assert_eq!(at.users().failures("alice"), 1);
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

/// As apps show it: with a blank in the middle.
fn in_groups(code: &str) -> String {
    let (first, second) = code.split_at(code.len() / 2);
    format!("{first} {second}")
}

fn code_in_two_groups_is_the_same_code() -> Case {
    let (alice, bob, carol) = (alice(), bob().digits(8), Token::motp("carol").pin(PIN));
    case(scope(&[&alice, &bob, &carol]), move |at| {
        let password = alice.with(&in_groups(&alice.code(0)));
        at.login("alice", &password).is(200, "granted-fresh");
        assert_eq!(at.users().last_otp("alice"), alice.code(0));
        at.users().stays_the_same(|| {
            at.login("alice", &password).is(200, "granted-reuse");
            at.login("alice", alice.password(0)).is(200, "granted-reuse");
            at.login("alice", &password).is(200, "granted-reuse");
        });
        at.login("alice", alice.with(&in_groups(&alice.wrong_code()))).is(401, "denied-code");
        assert_eq!(at.users().failures("alice"), 1);
        at.login("bob", bob.with(&in_groups(&bob.code(bob.step())))).is(200, "granted-fresh");
        at.login("carol", in_groups(&carol.code(carol.step()))).is(200, "granted-fresh");
    })
}

fn code_in_two_groups_follows_hashed_and_external_pins() -> Case {
    let dave = dave();
    let hashed = hashed_pins();
    let tokens: Vec<&Token> = hashed.iter().map(|(_, token)| token).chain([&dave]).collect();
    let scope = scope(&tokens).pin_file("dave", PIN);
    case(scope, move |at| {
        for (name, token) in &hashed {
            at.login(name, token.with(&in_groups(&token.code(0)))).is(200, "granted-fresh");
        }
        at.login("dave", dave.with(&in_groups(&dave.code(0)))).is(200, "granted-fresh");
        at.login("dave", format!("{WRONG_PIN}{}", in_groups(&dave.code(0)))).is(401, "denied-pin");
    })
}

fn blanks_elsewhere_are_not_taken_out() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol"));
    case(scope(&[&alice, &carol]), move |at| {
        let code = alice.code(0);
        at.users().stays_the_same(|| {
            for text in [
                format!("{PIN} {code}"),
                format!("{PIN} {}", in_groups(&code)),
                format!("{PIN}{}  {}", &code[..3], &code[3..]),
                format!("{PIN}{} {}", &code[..2], &code[2..]),
            ] {
                at.login("alice", text).is(401, "denied-pin");
            }
            at.login("carol", format!(" {code}")).is(401, "denied-pin");
        });
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn eight_digits() -> Case {
    let (alice, bob) = (alice().digits(8), bob().digits(8));
    case(scope(&[&alice, &bob]), move |at| {
        at.login("alice", alice.with(&alice.code(0)[2..])).is_denied();
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
    })
}

fn ten_digits_and_one() -> Case {
    let long = Token::hotp("long").pin(PIN).digits(10);
    let short = Token::hotp("short").pin(PIN).digits(1);
    case(scope(&[&long, &short]).set(Setting::MaxOffset, 0), move |at| {
        at.login("long", long.password(0)).is(200, "granted-fresh");
        at.login("short", short.password(0)).is(200, "granted-fresh");
    })
}

fn sha256_and_sha512_tokens() -> Case {
    let event = |user: &str, hash| Token::hotp(user).pin(PIN).hash(hash);
    let time = |user: &str, hash| Token::totp(user).pin(PIN).hash(hash);
    let (e256, t256) = (event("e256", Hash::Sha256), time("t256", Hash::Sha256));
    let (e512, t512) = (event("e512", Hash::Sha512), time("t512", Hash::Sha512));
    case(scope(&[&e256, &t256, &e512, &t512]), move |at| {
        at.login("e256", e512.password(0)).is(401, "denied-code");
        at.login("e256", e256.password(0)).is(200, "granted-fresh");
        at.login("e512", e512.password(0)).is(200, "granted-fresh");
        at.login("t256", t256.password(t256.step())).is(200, "granted-fresh");
        at.login("t512", t512.password(t512.step())).is(200, "granted-fresh");
    })
}

fn paper_codes_go_in_order_and_passed_ones_die() -> Case {
    let paper = Token::paper("paula", 30).pin(PIN);
    case(scope(&[&paper]).set(Setting::MaxLinger, 0), move |at| {
        at.login("paula", paper.password(0)).is(200, "granted-fresh");
        at.login("paula", paper.password(0)).is(401, "denied-expired");
        // As it is printed; numbers 2 and 3 are skipped.
        let printed = paper.code(3);
        let grouped = format!("{PIN}{} {}", &printed[..4], &printed[4..]);
        at.login("paula", grouped).is(200, "granted-fresh");
        for passed in [1, 2] {
            at.login("paula", paper.password(passed)).is(401, "denied-expired");
        }
        assert_eq!((at.users().counter("paula"), at.users().failures("paula")), (4, 0));
        at.login("paula", paper.with(&paper.wrong_code())).is(401, "denied-code");
        assert_eq!(at.users().failures("paula"), 1);
        at.login("paula", paper.code(4)).is(401, "denied-pin");
        at.login("paula", paper.password(4)).is(200, "granted-fresh");
        assert_eq!(at.users().failures("paula"), 0);
    })
}

fn paper_code_is_told_with_its_number_and_how_many_are_left() -> Case {
    let paper = Token::paper("peter", 10).counter(3);
    case(scope(&[&paper]), move |at| {
        at.login("peter", paper.password(3)).is(200, "granted-fresh");
        let log = at.server().error_log();
        assert!(log.contains("granted-fresh: paper code 4 of 10, 6 left, user \"peter\""), "{log}");
        let few = "codes left on a paper list: 5; print a new one with `otpgate paper --again`, user \"peter\"";
        assert!(!log.contains(few));
        at.expect_log(few);
        at.login("peter", paper.password(4)).is(200, "granted-fresh");
        let log = at.server().error_log();
        assert!(
            log.contains("granted-fresh: paper code 5 of 10, 5 left") && log.contains(few),
            "{log}"
        );
        assert_eq!(at.server().decisions("granted-fresh", "peter"), 2);
    })
}

fn paper_list_ends_with_its_last_code() -> Case {
    let paper = Token::paper("petra", 30).pin(PIN).counter(28);
    case(scope(&[&paper]).set(Setting::MaxLinger, 0), move |at| {
        at.expect_log(
            "the user's paper list is used up; print a new one with `otpgate paper --again`",
        );
        at.expect_log("codes left on a paper list: 0;");
        // The window reaches beyond the end, and there are no codes.
        at.login("petra", paper.password(30)).is(401, "denied-code");
        at.login("petra", paper.password(29)).is(200, "granted-fresh");
        assert!(at.server().error_log().contains("paper code 30 of 30, 0 left, user \"petra\""));
        for counter in [30, 31] {
            at.login("petra", paper.password(counter)).is(401, "denied-code");
        }
        at.login("petra", paper.password(29)).is(401, "denied-expired");
        assert_eq!(at.users().counter("petra"), 30);
    })
}

fn right_pin_without_a_code_is_told_the_next_one_on_paper_where_the_user_is_known() -> Case {
    let plain = Token::paper("plain", 30).pin(PIN);
    let hashed = Token::paper("hashed", 30).hashed_pin(PIN, HASHES[0].1);
    let external = Token::paper("external", 30).external_pin(PIN);
    let no_paper = Token::hotp("nopaper").pin(PIN);
    let scope = scope(&[&plain, &hashed, &external, &no_paper]).pin_file("external", PIN);
    case(scope.set(Setting::Throttle, "4 600").set(Setting::FallThrough, "Off"), move |at| {
        let told = |reply: &Reply| reply.0.header(PAPER_NEXT_HEADER).unwrap_or_default().to_owned();
        for (user, token) in [("plain", &plain), ("hashed", &hashed), ("external", &external)] {
            let stranger = at.login_from(HOME, user, PIN);
            assert_eq!(told(stranger.is_denied()), "", "{user}");
            assert_eq!(told(&at.login_from(HOME, user, token.password(0))), "");
            let known = at.login_from(HOME, user, PIN);
            assert_eq!(told(known.is(401, "denied-code")), "2", "{user}");
            let log = at.server().error_log();
            let line = format!("denied-code: the right PIN, but no code after it, user \"{user}\"");
            assert!(log.contains(&line), "{log}");
            for (address, password) in [
                (HOME, "sesam"),
                (CAFE, PIN),
                (HOME, WRONG_PIN),
                // Its code has been used, and it is no PIN.
                (HOME, &token.with(&token.wrong_code())),
            ] {
                let reply = at.login_from(address, user, password);
                assert_eq!(told(reply.is_denied()), "", "{user} {address} {password}");
            }
            // Four tries at home: what was too short counts there.
            let reply = at.login_from(HOME, user, "sesa");
            assert_eq!((reply.status(), &told(&reply)[..]), (429, ""), "{user}");
            // Away, what is too short doesn't.
            for short in ["s", "se", "ses", "sesa", "sesam"] {
                at.login_from(CAFE, user, short).is_denied();
            }
            assert_eq!(at.users().counter(user), 1);
        }
        at.login_from(HOME, "nopaper", no_paper.password(0)).is(200, "granted-fresh");
        for short in ["", "s", "se", "ses", "sesa", "sesam"] {
            at.login_from(HOME, "nopaper", short).is_denied();
        }
    })
}

fn who_isnt_let_in_isnt_told_the_next_code_on_paper() -> Case {
    let bob = Token::paper("bob", 30).pin(PIN);
    let mallory = Token::paper("mallory", 30).pin(PIN).used(0, 60, HOME);
    let scope =
        scope(&[&bob, &mallory]).set(Setting::Throttle, "20 600").set(Setting::RequireUser, "bob");
    case(scope, move |at| {
        let told = |reply: &Reply| reply.0.header(PAPER_NEXT_HEADER).unwrap_or_default().to_owned();
        at.login_from(HOME, "bob", bob.password(0)).is(200, "granted-fresh");
        assert_eq!(told(at.login_from(HOME, "bob", PIN).is_denied()), "2");
        at.login_from(HOME, "mallory", mallory.password(1)).is(401, "denied-user");
        for password in [PIN, WRONG_PIN] {
            let reply = at.login_from(HOME, "mallory", password);
            assert_eq!((reply.is(401, "denied-code").status(), &told(&reply)[..]), (401, ""));
        }
    })
}

fn phone_and_paper_of_one_user_take_codes_of_two_lengths() -> Case {
    // Argon2id of the PIN: a split that can't be one costs no hash.
    let (_, phone) = hashed_pins().remove(0);
    let paper = Token::paper("argon", 30).hashed_pin(PIN, HASHES[0].1);
    case(scope(&[&phone, &paper]), move |at| {
        at.login("argon", phone.password(0)).is(200, "granted-fresh");
        at.login("argon", paper.password(0)).is(200, "granted-fresh");
        at.login("argon", phone.password(0)).is(200, "granted-reuse");
        assert_eq!(counters_of(at, "argon"), ["1", "1"]);
        at.login("argon", phone.with(&phone.wrong_code())).is(401, "denied-code");
        at.login("argon", paper.with(&paper.wrong_code())).is(401, "denied-code");
        at.login("argon", format!("{WRONG_PIN}{}", paper.code(1))).is(401, "denied-pin");
        at.login("argon", paper.password(1)).is(200, "granted-fresh");
        assert_eq!(counters_of(at, "argon"), ["1", "2"]);
    })
}

fn old_type_names() -> Case {
    let (alice, bob) = (alice(), bob());
    let line = |token: &Token, long: &str, short: &str| {
        let line = String::from_utf8(token.line()).expect("plain text");
        assert!(line.starts_with(long));
        line.replacen(long, short, 1)
    };
    let scope = Scope::new("")
        .text(line(&alice, "HOTP/E/6", "E"))
        .text(line(&bob, "HOTP/T30/6", "T"))
        .text("hotp dave - 3132333435363738393031323334353637383930\n");
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
        at.login("dave", Token::hotp("dave").password(0)).is(200, "granted-fresh");
    })
}

fn mobile_otp() -> Case {
    let carol = Token::motp("carol").pin(PIN);
    let other = carol.clone().pin(WRONG_PIN);
    case(scope(&[&carol]).set(Setting::MaxLinger, 0), move |at| {
        let step = carol.step();
        at.login("carol", other.password(step)).is(401, "denied-code");
        assert_eq!(at.users().failures("carol"), 1);
        at.login("carol", carol.password(step)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("carol", carol.password(step)).is(401, "denied-expired");
        });
        at.login("carol", carol.password(step + 1)).is(200, "granted-fresh");
    })
}

fn mobile_otp_with_something_before_the_code_is_refused() -> Case {
    let carol = Token::motp("carol").pin(PIN);
    case(scope(&[&carol]), move |at| {
        at.users().stays_the_same(|| {
            let password = format!("{PIN}{}", carol.password(carol.step()));
            at.login("carol", password).is_denied();
        });
    })
}

fn time_codes_are_each_accepted_once() -> Case {
    let bob = bob();
    case(scope(&[&bob]), move |at| {
        let step = bob.step();
        at.login("bob", bob.password(step)).is(200, "granted-fresh");
        at.login("bob", bob.password(step + 1)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("bob", bob.password(step)).is(401, "denied-expired");
        });
        at.login("bob", bob.password(step + 1)).is(200, "granted-reuse");
    })
}

fn time_code_of_a_step_before_the_last_accepted_is_refused() -> Case {
    let bob = bob();
    case(scope(&[&bob]), move |at| {
        let step = bob.step();
        at.login("bob", bob.password(step)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            // Never sent before, but passed.
            at.login("bob", bob.password(step - 1)).is(401, "denied-expired");
        });
    })
}

fn time_code_beyond_the_window_is_refused() -> Case {
    let bob = bob();
    case(scope(&[&bob]).set(Setting::MaxOffset, 4), move |at| {
        // Not the very next step: time goes on while the test runs.
        let beyond = bob.step_of_a_new_code(bob.step() + 7..);
        at.login("bob", bob.password(beyond)).is(401, "denied-code");
        assert_eq!(at.users().failures("bob"), 1);
    })
}

fn clock_that_is_off_has_a_window_of_its_own() -> Case {
    let bob = bob().state("-10");
    case(scope(&[&bob]).set(Setting::MaxOffset, 2), move |at| {
        let step = bob.step();
        // Between the window around the stored offset and the one around the right time there is a
        // gap.
        let between = bob.step_of_a_new_code([step - 5, step - 4, step - 6].into_iter());
        at.login("bob", bob.password(between)).is(401, "denied-code");
        at.login("bob", bob.password(step - 10)).is(200, "granted-fresh");
        let offset = at.users().counter("bob");
        assert!((-11..=-10).contains(&offset), "{offset}");
        at.login("bob", bob.password(step)).is(200, "granted-fresh");
        let offset = at.users().counter("bob");
        assert!((-1..=0).contains(&offset), "{offset}");
    })
}

fn idle_time_counts_from_the_last_use() -> Case {
    let alice = alice().used(0, 3000, LOOPBACK);
    case(scope(&[&alice]).set(Setting::MaxIdle, 3600), move |at| {
        // Idle time alone: there is no limit from the first use.
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
    })
}

fn idle_time_over_ends_the_code() -> Case {
    let alice = alice().used(0, 20, LOOPBACK);
    case(scope(&[&alice]).set(Setting::MaxIdle, 16), move |at| {
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is(401, "denied-expired");
        });
    })
}

fn idle_and_linger_time_both_bind() -> Case {
    let recent = Token::hotp("recent").used(0, 50, LOOPBACK);
    let old = Token::hotp("old").used(0, 150, LOOPBACK);
    let idle = Token::hotp("idle").used(0, 90, LOOPBACK);
    let scope =
        scope(&[&recent, &old, &idle]).set(Setting::MaxLinger, 100).set(Setting::MaxIdle, 80);
    case(scope, move |at| {
        at.login("recent", recent.password(0)).is(200, "granted-reuse");
        at.login("old", old.password(0)).is(401, "denied-expired");
        at.login("idle", idle.password(0)).is(401, "denied-expired");
    })
}

fn use_refreshes_the_idle_time() -> Case {
    let alice = alice().used(0, 100, HOME);
    let scope = scope(&[&alice]).set(Setting::MaxIdle, 160).set(Setting::LogoutOnIpChange, "Off");
    case(scope, move |at| {
        let before = at.users().time("alice");
        at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-reuse");
        assert_ne!(at.users().time("alice"), before);
        assert_eq!(at.users().address("alice"), HOME);
        assert_eq!(at.users().counter("alice"), 1);
        // Only after a sixteenth of the limit again.
        at.users().stays_the_same(|| {
            at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-reuse");
        });
    })
}

fn forgotten_event_code_is_dead() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", "").is(401, "forgotten");
        assert_eq!(at.users().time("alice"), "1970-01-01T00:00:00L");
        assert_eq!(at.users().last_otp("alice"), alice.code(0));
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is(401, "denied-expired");
        });
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn forgotten_time_code_is_dead() -> Case {
    let bob = bob();
    case(scope(&[&bob]).set(Setting::MaxLinger, 600), move |at| {
        let step = bob.step();
        at.login("bob", bob.password(step)).is(200, "granted-fresh");
        at.login("bob", "").is(401, "forgotten");
        at.users().stays_the_same(|| {
            at.login("bob", bob.password(step)).is(401, "denied-expired");
        });
        at.login("bob", bob.password(step + 1)).is(200, "granted-fresh");
    })
}

fn forget_request_from_elsewhere_does_nothing() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login_from(CAFE, "alice", "").is_denied();
            at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-reuse");
        });
        at.login_from(HOME, "alice", "").is(401, "forgotten");
    })
}

fn forget_request_does_nothing_where_switched_off() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).set(Setting::MaxLinger, 600).set(Setting::Forget, "Off");
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("alice", "").is_denied();
            at.login("alice", alice.password(0)).is(200, "granted-reuse");
        });
    })
}

fn forget_request_for_an_expired_code_does_nothing() -> Case {
    let alice = alice().used(0, 700, LOOPBACK);
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.users().stays_the_same(|| {
            at.login("alice", "").is_denied();
        });
    })
}

fn by_word(tokens: &[&Token]) -> Scope {
    scope(tokens)
        .set(Setting::MaxLinger, 600)
        .set(Setting::Forget, "Word")
        .set(Setting::MaxFailures, 3)
}

fn forget_request_by_word_takes_the_pin_and_nothing_else() -> Case {
    let alice = alice();
    case(by_word(&[&alice]), move |at| {
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login_from(HOME, "alice", "").is_denied();
            for _ in 0..5 {
                at.login_from(HOME, "alice", format!("{WRONG_PIN}logout")).is(401, "denied-pin");
            }
            at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-reuse");
        });
        at.login_from(CAFE, "alice", alice.with("logout")).is(401, "forgotten");
        assert_eq!(at.users().time("alice"), "1970-01-01T00:00:00L");
        assert_eq!(at.users().last_otp("alice"), alice.code(0));
        at.users().stays_the_same(|| {
            at.login_from(HOME, "alice", alice.password(0)).is(401, "denied-expired");
            for _ in 0..5 {
                at.login_from(HOME, "alice", alice.with("logout")).is(401, "forgotten");
            }
        });
        at.login_from(HOME, "alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn forget_request_by_word_takes_hashed_and_external_pins() -> Case {
    let hash = "$2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO";
    let hashed = Token::hotp("hashed").hashed_pin("myPassword", hash);
    let external = Token::totp("external").external_pin(PIN);
    let scope = by_word(&[&hashed, &external]).pin_file("external", PIN);
    case(scope, move |at| {
        for (user, token, position) in
            [("hashed", &hashed, 0), ("external", &external, external.step())]
        {
            at.login(user, token.password(position)).is(200, "granted-fresh");
            at.users().stays_the_same(|| {
                at.login(user, format!("{WRONG_PIN}logout")).is(401, "denied-pin");
                at.login(user, token.password(position)).is(200, "granted-reuse");
            });
            at.login(user, token.with("logout")).is(401, "forgotten");
            at.login(user, token.password(position)).is(401, "denied-expired");
        }
    })
}

fn forget_request_by_word_is_none_without_a_pin() -> Case {
    let bob = Token::totp("bob");
    case(by_word(&[&bob]), move |at| {
        let step = bob.step();
        at.login("bob", bob.password(step)).is(200, "granted-fresh");
        at.login("bob", "logout").is(401, "denied-code");
        at.login("bob", bob.password(step)).is(200, "granted-reuse");
    })
}

fn locked_after_so_many_wrong_codes() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxFailures, 3), move |at| {
        for wrong in alice.wrong_codes(3) {
            at.login("alice", alice.with(&wrong)).is(401, "denied-code");
        }
        assert_eq!(at.users().failures("alice"), 3);
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is(401, "denied-locked");
            at.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-locked");
        });
    })
}

fn lockout_with_a_time_ends_by_itself() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).set(Setting::MaxFailures, 2).set(Setting::LockoutTime, 2);
    case(scope, move |at| {
        for wrong in alice.wrong_codes(2) {
            at.login("alice", alice.with(&wrong)).is(401, "denied-code");
        }
        at.login("alice", alice.password(0)).is(401, "denied-locked");
        wait_until("the lock-out is over", || {
            let reply = at.login("alice", alice.password(0));
            assert!(["denied-locked", "granted-fresh"].contains(&reply.result()), "{reply:?}");
            reply.status() == 200
        });
        assert_eq!(at.users().failures("alice"), 0);
    })
}

fn without_limit_nobody_is_locked() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxFailures, 0), move |at| {
        for wrong in alice.wrong_codes(12) {
            at.login("alice", alice.with(&wrong)).is(401, "denied-code");
        }
        assert_eq!(at.users().failures("alice"), 12);
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn wrong_pins_lock_nobody_out() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxFailures, 2), move |at| {
        for wrong in alice.wrong_codes(5) {
            let password = format!("{WRONG_PIN}{wrong}");
            at.login("alice", password).is(401, "denied-pin");
        }
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn locked_user_stays_out_with_fall_through() -> Case {
    let alice = alice().failures(3);
    let scope = scope(&[&alice])
        .set(Setting::MaxFailures, 3)
        .set(Setting::FallThrough, "On")
        .second_provider("alice", "opendoor");
    case(scope, move |at| {
        at.login("alice", "opendoor").is(401, "denied-locked");
        at.login("alice", alice.password(0)).is(401, "denied-locked");
    })
}

const TRUSTED: &str = "192.0.2.0/24 2001:db8::/32";
const CLOSED: &str = "too many wrong PINs without a code: a code is needed everywhere";

fn trusting(tokens: &[&Token]) -> Scope {
    scope(tokens).set(Setting::TrustedNetworks, TRUSTED).set(Setting::Throttle, "90 600")
}

fn pin_alone_is_enough_from_a_trusted_network_and_from_nowhere_else() -> Case {
    let plain = Token::hotp("plain").pin(PIN);
    // So short that it is no code.
    let short = Token::hotp("short").pin("4711");
    let hashed = Token::hotp("hashed").hashed_pin(PIN, HASHES[0].1);
    let external = Token::hotp("external").external_pin(PIN);
    let motp = Token::motp("motp").pin(PIN);
    let scope = trusting(&[&plain, &short, &hashed, &external, &motp]).pin_file("external", PIN);
    case(scope.set(Setting::LogoutOnIpChange, "Off"), move |at| {
        for (user, token, pin) in [
            ("plain", &plain, PIN),
            ("short", &short, "4711"),
            ("hashed", &hashed, PIN),
            ("external", &external, PIN),
            ("motp", &motp, PIN),
        ] {
            at.users().stays_the_same(|| {
                for from in [HOME, "192.0.2.255", "2001:db8::7", "::ffff:192.0.2.8"] {
                    at.login_from(from, user, pin).is(200, "granted-trusted");
                    at.login_from(from, user, pin).is(200, "granted-trusted");
                }
                // What the client itself says of where it is, or was before another proxy.
                let forged = at.request(user, pin).from(&format!("{HOME}, {CAFE}"));
                at.send(forged).is_denied();
                let here = at.request(user, pin);
                let here =
                    here.header("X-Real-IP", HOME).header("Forwarded", format!("for={HOME}"));
                at.send(here).is_denied();
                for elsewhere in [CAFE, "192.0.3.1", "2001:db9::7"] {
                    at.login_from(elsewhere, user, pin).is_denied();
                }
                for wrong in ["sesam", "sesame90", "SESAME9", ""] {
                    at.login_from(HOME, user, wrong).is_denied();
                }
            });
            let code = if user == "motp" { token.step() } else { 0 };
            at.login_from(CAFE, user, token.password(code)).is(200, "granted-fresh");
            at.login_from(HOME, user, pin).is(200, "granted-trusted");
        }
    })
}

fn pin_alone_is_enough_where_the_file_or_the_users_line_says_so() -> Case {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    let scope = scope(&[&alice, &bob]).text(
        "#@ trust alice 198.51.100.0/24,203.0.113.7/32\n#@ allow trusted-networks=192.0.2.0/24\n",
    );
    case(scope, move |at| {
        for (from, user, is_enough) in [
            (CAFE, "alice", true),
            ("203.0.113.7", "alice", true),
            ("203.0.113.8", "alice", false),
            (CAFE, "bob", false),
            (HOME, "alice", true),
            (HOME, "bob", true),
            (LOOPBACK, "alice", false),
        ] {
            let reply = at.login_from(from, user, PIN);
            assert_eq!(reply.result() == "granted-trusted", is_enough, "{from} {user}: {reply:?}");
            assert_eq!(reply.status() == 200, is_enough, "{from} {user}: {reply:?}");
        }
        // What a line at fault allows is nothing.
        let text = String::from_utf8(at.users().bytes()).expect("text");
        at.users().replace(text.replace("203.0.113.7/32", "203.0.113.7/24"));
        at.login_from(CAFE, "alice", PIN).is_denied();
    })
}

fn pin_alone_is_never_enough_for_a_user_without_a_pin() -> Case {
    let (bob, motp) = (Token::hotp("bob"), Token::motp("motp"));
    case(trusting(&[&bob, &motp]).set(Setting::Forget, "Off"), move |at| {
        for user in ["bob", "motp"] {
            for password in ["", "-", "+", "1", "s"] {
                at.login_from(HOME, user, password).is(401, "denied-code");
            }
            at.login_from(HOME, user, PIN).is_denied();
        }
        at.login_from(HOME, "bob", bob.code(0)).is(200, "granted-fresh");
        assert!(!at.users().bytes().windows(9).any(|text| text == b"#@ always"));
    })
}

fn pin_alone_is_not_enough_for_a_user_who_always_needs_a_code() -> Case {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    let carol = Token::hotp("carol").pin(PIN);
    let scope = trusting(&[&alice, &bob, &carol])
        .text("#@ always alice\n#@ trust alice 192.0.2.0/24\n#@ always bob nonsense\n");
    case(scope, move |at| {
        for user in ["alice", "bob"] {
            at.login_from(HOME, user, PIN).is_denied();
        }
        at.login_from(HOME, "carol", PIN).is(200, "granted-trusted");
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.login_from(HOME, "alice", PIN).is_denied();
        at.users().append("#@ always carol apps\n");
        at.login_from(HOME, "carol", PIN).is_denied();
    })
}

/// A no-break space after the kind looks like a blank.
fn a_line_that_closes_something_for_nobody_knows_whom_closes_it_for_everybody() -> Case {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    case(trusting(&[&alice, &bob]), move |at| {
        at.login_from(HOME, "bob", PIN).is(200, "granted-trusted");
        for line in ["#@ always\u{a0}alice\n", "#@ always 50%off\n", "#@ always\n"] {
            let before = at.users().bytes();
            at.users().append(line);
            for user in ["alice", "bob"] {
                at.login_from(HOME, user, PIN).is_denied();
            }
            at.users().replace(before);
            at.login_from(HOME, "bob", PIN).is(200, "granted-trusted");
        }
        // However long, and however many, they close something for her alone.
        let long = format!("#@ always alice{}\n", " ".repeat(70_000));
        for lines in [long, "#@ trust alice 192.0.2.0/24\n".repeat(101)] {
            let before = at.users().bytes();
            at.users().append(lines);
            at.login_from(HOME, "alice", PIN).is_denied();
            at.login_from(HOME, "bob", PIN).is(200, "granted-trusted");
            at.users().replace(before);
        }
        at.users().append("#@ always\u{a0}alice\n");
        at.login_from(HOME, "bob", bob.password(0)).is(200, "granted-fresh");
    })
}

fn pin_alone_opens_no_token_that_is_locked_or_switched_off() -> Case {
    let locked = Token::hotp("locked").pin(PIN).failures(3);
    let off = Token::hotp("off").pin(PIN).off();
    let other = Token::hotp("other").pin("other-pin");
    let others_off = Token::hotp("other").pin(PIN).key(b"another key").off();
    let scope = trusting(&[&locked, &off, &other, &others_off])
        .set(Setting::MaxFailures, 3)
        .set(Setting::LockoutTime, 0);
    case(scope, move |at| {
        at.login_from(HOME, "locked", PIN).is(401, "denied-locked");
        at.login_from(HOME, "off", PIN).is(401, "denied-locked");
        at.login_from(HOME, "other", PIN).is(401, "denied-pin");
        at.login_from(HOME, "other", "other-pin").is(200, "granted-trusted");
    })
}

fn pin_alone_lets_in_nobody_whom_the_place_does_not() -> Case {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    case(trusting(&[&alice, &bob]).set(Setting::RequireUser, "bob"), move |at| {
        at.login_from(HOME, "alice", PIN).is(401, "denied-user");
        at.login_from(HOME, "bob", PIN).is(200, "granted-trusted");
    })
}

fn wrong_pins_in_a_trusted_network_close_it_until_the_next_fresh_code() -> Case {
    let (alice, bob) = (alice(), Token::hotp("bob").pin(PIN));
    let scope = trusting(&[&alice, &bob]).set(Setting::MaxFailures, 3);
    case(scope.set(Setting::MaxLinger, 600).set(Setting::LogoutOnIpChange, "Off"), move |at| {
        at.expect_log(CLOSED);
        let text = || String::from_utf8(at.users().bytes()).expect("text");
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        // The same one again is one. Too short for a code counts as well.
        for wrong in [WRONG_PIN, WRONG_PIN, "s", "s"] {
            at.login_from(HOME, "alice", wrong).is(401, "denied-pin");
        }
        // Those from elsewhere don't.
        for wrong in ["sesame1", "sesame2", "sesame3", "x"] {
            at.login_from(CAFE, "alice", wrong).is_denied();
        }
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        assert!(!text().contains("#@"));
        at.login_from(HOME, "alice", "sesame4").is(401, "denied-pin");
        assert!(text().contains("#@ always alice pin\n"), "{}", text());
        // Nobody is locked, and a code that isn't fresh opens nothing.
        for _ in 0..2 {
            at.login_from(HOME, "alice", PIN).is_denied();
        }
        at.login_from("192.0.2.8", "alice", PIN).is_denied();
        assert_eq!(at.users().failures("alice"), 0);
        at.login_from(HOME, "bob", PIN).is(200, "granted-trusted");
        at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-fresh");
        assert!(!text().contains("#@"), "{}", text());
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        // All of them again.
        for wrong in ["sesame5", "sesame6"] {
            at.login_from(HOME, "alice", wrong).is(401, "denied-pin");
        }
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        at.login_from(HOME, "alice", "sesame7").is(401, "denied-pin");
        at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-reuse");
        at.login_from(HOME, "alice", PIN).is_denied();
    })
}

/// What was refused while a code was needed has told nobody whether it is the PIN.
fn wrong_pins_that_were_tried_before_count_once_they_are_read_as_such() -> Case {
    let alice = alice();
    case(trusting(&[&alice]).set(Setting::MaxFailures, 3), move |at| {
        at.expect_log(CLOSED);
        at.users().append("#@ always alice pin\n");
        let wrong = ["sesame1", "sesame2", "sesame3"];
        for wrong in wrong {
            at.login_from(HOME, "alice", wrong).is(401, "denied-pin");
        }
        at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-fresh");
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        for wrong in wrong.iter().chain(&wrong[..2]) {
            at.login_from(HOME, "alice", wrong).is(401, "denied-pin");
        }
        at.login_from("192.0.2.8", "alice", PIN).is_denied();
    })
}

fn wrong_pins_without_a_limit_close_it_after_ten() -> Case {
    let alice = alice();
    let scope = scope(&[&alice])
        .set(Setting::TrustedNetworks, TRUSTED)
        .set(Setting::MaxFailures, "None")
        .set(Setting::Throttle, "Off");
    case(scope, move |at| {
        at.expect_log(CLOSED);
        for number in 0..9 {
            at.login_from(HOME, "alice", format!("wrong{number}")).is(401, "denied-pin");
        }
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
        at.login_from(HOME, "alice", "wrong9").is(401, "denied-pin");
        at.login_from(HOME, "alice", PIN).is_denied();
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
    })
}

fn a_fresh_code_ends_the_count_of_wrong_pins() -> Case {
    let alice = alice();
    case(trusting(&[&alice]).set(Setting::MaxFailures, 3), move |at| {
        for (counter, wrong) in [["w1", "w2"], ["w3", "w4"], ["w5", "w6"]].iter().enumerate() {
            for wrong in wrong {
                at.login_from(HOME, "alice", wrong).is(401, "denied-pin");
            }
            at.login_from(HOME, "alice", alice.password(counter as u64)).is(200, "granted-fresh");
        }
        at.login_from(HOME, "alice", PIN).is(200, "granted-trusted");
    })
}

fn wrong_pins_that_are_passed_on_close_it_too() -> Case {
    let alice = alice();
    let scope = trusting(&[&alice])
        .set(Setting::MaxFailures, 3)
        .set(Setting::FallThrough, "On")
        .second_provider("alice", "opendoor");
    let case = case(scope, move |at| {
        at.expect_log(CLOSED);
        for wrong in ["sesame1", "sesame2", "sesame3"] {
            at.login_from(HOME, "alice", wrong).is_status(401);
        }
        at.login_from(HOME, "alice", PIN).is_status(401);
    });
    case.needs(Capability::NextProvider)
}

/// A scope whose name is the case's, with a program of alice's for its page alone.
fn with_program(name: &str) -> Scope {
    let page = format!("/{name}/page.txt");
    scope(&[&alice()])
        .text(programs::line("alice", 1, &[&page], &["GET", "MOVE"]))
        .secret(&programs::password(1))
}

fn program_is_let_in_by_its_password_for_its_path_and_methods() -> Case {
    const NAME: &str = "program_is_let_in_by_its_password_for_its_path_and_methods";
    case(with_program(NAME).set(Setting::AppPasswords, "On"), |at| {
        let ask = |file: &str| at.request_for(file, "alice", programs::password(1));
        at.send(ask("page.txt")).is(200, "granted-app");
        at.send(ask("page.txt").from(HOME)).is(200, "granted-app");
        for outside in ["other.txt", "page.txtx", "./page.txt", "page.txt;x", ""] {
            at.send(ask(outside)).is_denied();
        }
        at.send(ask("page.txt").method("PUT")).is(401, "denied-app");
        let to = |path: &str| {
            at.send(ask("page.txt").method("MOVE").header("Destination", path)).result().to_owned()
        };
        assert_eq!(to(&format!("/{NAME}/page.txt")), "granted-app");
        assert_ne!(to(&format!("/{NAME}/other.txt")), "granted-app");
        // A lock-out doesn't stop it, and it ends none.
        at.login("alice", alice().password(0)).is(200, "granted-fresh");
    })
}

fn program_is_let_in_where_the_file_says_so_and_the_user_does_not_close_it() -> Case {
    const NAME: &str = "program_is_let_in_where_the_file_says_so_and_the_user_does_not_close_it";
    case(with_program(NAME).text("#@ allow apps\n"), |at| {
        at.login("alice", programs::password(1)).is(200, "granted-app");
        at.users().append("#@ always alice apps\n");
        at.login("alice", programs::password(1)).is(401, "denied-app");
        let text = String::from_utf8(at.users().bytes()).expect("text");
        at.users().replace(text.replace("#@ always alice apps\n", "#@ always alice\n"));
        at.login("alice", programs::password(1)).is(200, "granted-app");
        let text = String::from_utf8(at.users().bytes()).expect("text");
        at.users().replace(text.replace("#@ allow apps\n", "#@ allow apps now\n"));
        at.login("alice", programs::password(1)).is(401, "denied-pin");
    })
}

fn programs_login_notes_its_hour_and_changes_nothing_else() -> Case {
    const NAME: &str = "programs_login_notes_its_hour_and_changes_nothing_else";
    case(with_program(NAME).set(Setting::AppPasswords, "On"), |at| {
        let text = || String::from_utf8(at.users().bytes()).expect("text");
        let before = text();
        at.login("alice", programs::password(1)).is(200, "granted-app");
        wait_until("the hour is noted", || !text().contains("used=0000-00-00T00Z"));
        let used = text().split("used=").nth(1).expect("it was there")[..14].to_owned();
        assert_eq!(text().replace(&used, "0000-00-00T00Z"), before);
        at.users().stays_the_same(|| {
            for _ in 0..3 {
                at.login("alice", programs::password(1)).is(200, "granted-app");
            }
        });
        assert_eq!(at.users().failures("alice"), 0);
    })
}

fn program_that_is_not_allowed_is_refused_like_a_wrong_pin() -> Case {
    case(with_program("program_that_is_not_allowed_is_refused_like_a_wrong_pin"), |at| {
        at.login("alice", programs::password(1)).is(401, "denied-pin");
        at.login("alice", alice().password(0)).is(200, "granted-fresh");
    })
}

fn wrong_passwords_of_programs_are_tries_and_lock_nobody() -> Case {
    let scope = with_program("wrong_passwords_of_programs_are_tries_and_lock_nobody")
        .set(Setting::AppPasswords, "On")
        .set(Setting::MaxFailures, 2)
        .set(Setting::Throttle, "3 600");
    case(scope, |at| {
        for number in [2, 3, 4] {
            at.login_from(CAFE, "alice", programs::password(number)).is(401, "denied-app");
        }
        at.login_from(CAFE, "alice", programs::password(5)).is(429, "denied-throttled");
        at.login_from(CAFE, "alice", programs::password(1)).is(200, "granted-app");
        at.login_from(HOME, "alice", alice().password(0)).is(200, "granted-fresh");
        assert_eq!(at.users().failures("alice"), 0);
    })
}

/// The limit of wrong codes that holds at a place, for a user who has made none.
#[track_caller]
fn is_locked_after(at: &Place<'_>, user: &Token, limit: usize) {
    let name = str::from_utf8(user.user()).expect("a plain name");
    for wrong in user.wrong_codes(limit) {
        at.login(name, user.with(&wrong)).is(401, "denied-code");
    }
    at.login(name, user.password(0)).is(401, "denied-locked");
}

fn limits_of_the_file_stand_for_what_a_section_leaves_unset() -> Case {
    let alice = alice();
    let scope = Scope::new("").text("#@ limits max_failures=3 max_offset=1\n").token(&alice);
    case(scope, move |at| {
        at.login("alice", alice.password(2)).is(401, "denied-code");
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
        for counter in [7, 8, 9] {
            at.login("alice", alice.password(counter)).is(401, "denied-code");
        }
        at.login("alice", alice.password(2)).is(401, "denied-locked");
    })
}

fn limits_of_the_file_bind_a_laxer_section() -> Case {
    let alice = alice();
    let scope = scope(&[&alice])
        .text("#@ limits max_failures=5 max_offset=4 lockout=0\n")
        .set(Setting::MaxFailures, 20)
        .set(Setting::LockoutTime, 1)
        .set(Setting::MaxOffset, 10_000);
    case(scope, move |at| {
        at.login("alice", alice.password(5)).is(401, "denied-code");
        at.login("alice", alice.password(4)).is(200, "granted-fresh");
        for wrong in alice.wrong_codes(5) {
            at.login("alice", alice.with(&wrong)).is(401, "denied-code");
        }
        std::thread::sleep(std::time::Duration::from_millis(2100));
        at.login("alice", alice.password(5)).is(401, "denied-locked");
    })
}

fn a_stricter_section_stays_stricter_than_the_file() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).text("#@ limits max_failures=20\n").set(Setting::MaxFailures, 2);
    case(scope, move |at| is_locked_after(at, &alice, 2))
}

fn of_several_limits_of_the_file_the_strictest_holds() -> Case {
    let alice = alice();
    let scope = Scope::new("")
        .text("#@ limits max_failures=9\n")
        .token(&alice)
        .text("#@ limits max_failures=3\n#@ limits max_failures=7")
        .set(Setting::MaxFailures, "None");
    case(scope, move |at| is_locked_after(at, &alice, 3))
}

fn limits_of_the_file_end_a_lingering_code() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).text("#@ limits max_linger=0\n").set(Setting::MaxLinger, 600);
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(0)).is(401, "denied-expired");
    })
}

fn limits_of_the_file_count_as_soon_as_they_are_edited() -> Case {
    let alice = alice();
    case(scope(&[&alice]).set(Setting::MaxLinger, 600), move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
        at.users().append("#@ limits max_linger=0\n");
        at.login("alice", alice.password(0)).is(401, "denied-expired");
        let text = String::from_utf8(at.users().bytes()).expect("plain text");
        at.users().replace(text.replace("max_linger=0", "max_linger=90"));
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
        at.users().replace(text.replace("#@ limits max_linger=0\n", ""));
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
    })
}

fn limits_at_fault_refuse_everybody_with_an_error_that_names_the_line() -> Case {
    let alice = alice();
    let scope =
        scope(&[&alice]).text("#@ limits max_failures=few\n").second_provider("carol", "opendoor");
    case(scope, move |at| {
        let path = at.users().path().display().to_string();
        at.expect_log(&format!(
            "error: cannot use {path}: line 2: #@ limits: max_failures takes a number"
        ));
        at.users().stays_the_same(|| {
            for password in [alice.password(0), alice.with(&alice.wrong_code())] {
                at.login("alice", password).is(500, "error");
            }
            at.login("nobody", alice.password(0)).is(500, "error");
            at.login("carol", "opendoor").is(500, "error");
        });
        let text = String::from_utf8(at.users().bytes()).expect("plain text");
        at.users().replace(text.replace("few", "3"));
        is_locked_after(at, &alice, 3);
    })
}

fn other_lines_for_otpgate_alone_stay_and_refuse_nobody() -> Case {
    let alice = alice();
    let lines = "#@ allow everything\n#@ apart\n#@ free        \n#@ later max_failures=1\n";
    case(Scope::new("").text(lines).token(&alice), move |at| {
        at.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-code");
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        assert!(at.users().bytes().starts_with(lines.as_bytes()));
    })
}

fn code_from_another_address_is_refused_if_asked_for() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).set(Setting::MaxLinger, 600).set(Setting::LogoutOnIpChange, "On");
    case(scope, move |at| {
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login_from(CAFE, "alice", alice.password(0)).is(401, "denied-ip");
            at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-reuse");
        });
        at.login_from(CAFE, "alice", alice.password(1)).is(200, "granted-fresh");
        assert_eq!(at.users().address("alice"), CAFE);
    })
}

fn code_from_another_address_is_granted_by_itself() -> Case {
    let alice = alice();
    let scope = scope(&[&alice]).set(Setting::MaxLinger, 600).set(Setting::LogoutOnIpChange, "Off");
    case(scope, move |at| {
        at.login_from(HOME, "alice", alice.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login_from(CAFE, "alice", alice.password(0)).is(200, "granted-reuse");
        });
        assert_eq!(at.users().address("alice"), HOME);
    })
}

fn mapped_address_is_the_same_address() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol"));
    let scope =
        scope(&[&alice, &carol]).set(Setting::MaxLinger, 600).set(Setting::LogoutOnIpChange, "On");
    case(scope, move |at| {
        at.login_from("192.0.2.9", "alice", alice.password(0)).is(200, "granted-fresh");
        at.login_from("::ffff:192.0.2.9", "alice", alice.password(0)).is(200, "granted-reuse");
        at.login_from("2001:db8::17", "carol", carol.password(0)).is(200, "granted-fresh");
        at.login_from("2001:db8:0:0::17", "carol", carol.password(0)).is(200, "granted-reuse");
        at.login_from("2001:db8::18", "carol", carol.password(0)).is(401, "denied-ip");
    })
}

fn link_local_address_is_compared_without_its_interface() -> Case {
    let carol = Token::hotp("carol");
    let scope = scope(&[&carol]).set(Setting::MaxLinger, 600).set(Setting::LogoutOnIpChange, "On");
    case(scope, move |at| {
        at.login_from("fe80::1%eth0", "carol", carol.password(1)).is(200, "granted-fresh");
        at.login_from("fe80::1%eth0", "carol", carol.password(1)).is(200, "granted-reuse");
        at.login_from("fe80::2%eth0", "carol", carol.password(1)).is(401, "denied-ip");
    })
    .needs(Capability::InterfaceInAddress)
}

fn phone_and_fob() -> (Token, Token) {
    (alice(), alice().key(b"another key altogether"))
}

fn two_tokens_of_one_user_both_work() -> Case {
    let (phone, fob) = phone_and_fob();
    case(scope(&[&phone, &fob]), move |at| {
        at.login("alice", fob.password(0)).is(200, "granted-fresh");
        at.login("alice", phone.password(0)).is(200, "granted-fresh");
        at.login("alice", fob.password(0)).is(200, "granted-reuse");
        at.login("alice", phone.password(2)).is(200, "granted-fresh");
        let counters: Vec<String> = counters(at);
        assert_eq!(counters, ["3", "1"]);
    })
}

fn counters(at: &Place<'_>) -> Vec<String> {
    counters_of(at, "alice")
}

fn counters_of(at: &Place<'_>, user: &str) -> Vec<String> {
    at.users()
        .records(user)
        .iter()
        .map(|fields| fields[4].parse::<i64>().expect("a number").to_string())
        .collect()
}

fn failures(at: &Place<'_>) -> Vec<i64> {
    at.users().records("alice").iter().map(|fields| fields[5].parse().expect("a number")).collect()
}

fn wrong_code_counts_on_all_tokens_and_a_grant_clears_all() -> Case {
    let (phone, fob) = phone_and_fob();
    case(scope(&[&phone, &fob]), move |at| {
        for wrong in phone.wrong_codes(2) {
            at.login("alice", phone.with(&wrong)).is(401, "denied-code");
        }
        assert_eq!(failures(at), [2, 2]);
        at.login("alice", fob.password(0)).is(200, "granted-fresh");
        assert_eq!(failures(at), [0, 0]);
    })
}

fn repeated_line_is_one_token() -> Case {
    let first = alice().counter(3);
    let second = alice().counter(7);
    case(scope(&[&first, &second]).set(Setting::MaxLinger, 0), move |at| {
        // The further of both lines counts.
        at.login("alice", first.password(3)).is(401, "denied-expired");
        at.login("alice", first.password(7)).is(200, "granted-fresh");
        assert_eq!(counters(at), ["8", "8"]);
        at.login("alice", first.password(7)).is(401, "denied-expired");
        at.login("alice", first.with(&first.wrong_code())).is(401, "denied-code");
        assert_eq!(failures(at), [1, 1]);
    })
}

fn everything_else_in_the_file_stays() -> Case {
    let alice = alice();
    let before = "# a comment about alice, with  two blanks\n\n \t \n";
    let after = "HOTP\tcarol\t-\t  3132333435363738393031323334353637383930 5\n# no line end";
    let scope = Scope::new("").text(before).token(&alice).text(after);
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        let text = String::from_utf8(at.users().bytes()).expect("plain text");
        assert!(text.starts_with(before), "{text}");
        assert!(text.trim_end().ends_with("# no line end"), "{text}");
        let fields = "HOTP\tcarol\t-\t  3132333435363738393031323334353637383930";
        assert!(text.contains(fields), "{text}");
        let own = String::from_utf8(alice.line()).expect("plain text");
        assert!(text.contains(own.trim_end()), "{text}");
        at.login("carol", Token::hotp("carol").password(5)).is(200, "granted-fresh");
    })
}

fn last_line_needs_no_end() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol").key(b"the key of carol"));
    let line = carol.line();
    let scope = scope(&[&alice]).text(line.trim_ascii_end());
    case(scope, move |at| {
        at.login("carol", carol.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("carol", carol.password(1)).is(200, "granted-fresh");
        assert_eq!((at.users().counter("alice"), at.users().counter("carol")), (1, 2));
    })
}

fn line_ends_of_other_systems_stay() -> Case {
    let alice = alice();
    let with_cr = |token: &Token| {
        let line = String::from_utf8(token.line()).expect("plain text");
        line.replace('\n', "\r\n")
    };
    let scope =
        Scope::new("").text("# from elsewhere\r\n").text(with_cr(&alice)).text("\r\n# end\r\n");
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
        let text = String::from_utf8(at.users().bytes()).expect("plain text");
        assert!(text.starts_with("# from elsewhere\r\n"), "{text:?}");
        assert!(text.ends_with("\r\n\r\n# end\r\n"), "{text:?}");
        assert_eq!(text.matches('\r').count(), text.matches('\n').count(), "{text:?}");
    })
}

fn an_empty_users_file_knows_nobody() -> Case {
    case(Scope::new(""), |at| {
        at.users().stays_the_same(|| {
            at.login("alice", alice().password(0)).is(401, "unknown");
        });
    })
}

fn state_of_every_older_form_is_understood() -> Case {
    let forms = [
        ("none", String::new()),
        ("counter", "4".to_owned()),
        ("failures", "4 2".to_owned()),
        ("last-otp", "4 520489 2011-02-03T04:05:06L".to_owned()),
        ("with-ip", "4 520489 2011-02-03T04:05:06L 192.0.2.1".to_owned()),
        ("all", "4 1 520489 2011-02-03T04:05:06L 192.0.2.1".to_owned()),
    ];
    let tokens: Vec<Token> =
        forms.iter().map(|(user, state)| Token::hotp(user).state(state)).collect();
    case(scope(&tokens.iter().collect::<Vec<_>>()), move |at| {
        for (user, state) in &forms {
            let token = Token::hotp(user);
            let next = if state.is_empty() { 0 } else { 4 };
            at.login(user, token.password(next)).is(200, "granted-fresh");
            assert_eq!(at.users().counter(user), next as i64 + 1);
            assert_eq!(at.users().failures(user), 0);
        }
    })
}

fn unknown_user_is_refused() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.users().stays_the_same(|| {
            at.login("mallory", alice.password(0)).is(401, "unknown");
        });
    })
}

fn unknown_user_is_left_to_the_second_provider() -> Case {
    let alice = alice();
    case(scope(&[&alice]).second_provider("dave", "opendoor"), move |at| {
        at.login("dave", "opendoor").is_status(200);
        at.login("dave", "closeddoor").is_denied();
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
    .needs(Capability::NextProvider)
}

fn listed_user_is_not_left_to_the_second_provider() -> Case {
    let alice = alice();
    case(scope(&[&alice]).second_provider("alice", "opendoor"), move |at| {
        at.login("alice", "opendoor").is(401, "denied-pin");
        at.login("alice", "door").is_denied();
    })
}

fn name_that_differs_in_case_or_blanks_is_refused() -> Case {
    let (alice, umlaut) = (alice(), Token::hotp("jörg"));
    let names = ["Alice", "ALICE", "alice ", " alice", "JÖRG"];
    let scope = names
        .iter()
        .fold(scope(&[&alice, &umlaut]), |scope, name| scope.second_provider(name, "opendoor"));
    case(scope.set(Setting::FallThrough, "On"), move |at| {
        at.users().stays_the_same(|| {
            for name in names {
                at.login(name, "opendoor").is_denied();
                at.login(name, alice.password(0)).is_denied();
            }
        });
    })
}

fn another_spelling_of_a_listed_name_is_refused() -> Case {
    let tokens = ["alice", "j\u{f6}rg", "\u{438}\u{432}\u{430}\u{43d}"].map(Token::hotp);
    let names: [&[u8]; 15] = [
        "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}".as_bytes(), // fullwidth
        "\u{24d0}lice".as_bytes(),                             // circled
        "\u{1d41a}lice".as_bytes(),                            // mathematical bold
        "\u{e1}lice".as_bytes(),
        "al\u{ad}ice".as_bytes(), // soft hyphen
        b"al\xadice",
        "ali\u{200d}ce".as_bytes(), // zero-width joiner
        b"alice@",
        b"\\alice",
        "\u{ff3c}Alice\u{ff20}".as_bytes(),
        b"alice\xa0",
        "jo\u{308}rg".as_bytes(), // decomposed
        b"j\xf6rg",               // Latin-1
        b"jorg",
        "\u{418}\u{306}\u{432}\u{430}\u{43d}".as_bytes(), // Йван
    ];
    let scope = scope(&tokens.each_ref());
    let scope = names.iter().fold(scope, |scope, name| scope.second_provider(name, "opendoor"));
    case(scope.set(Setting::FallThrough, "On"), move |at| {
        at.users().stays_the_same(|| {
            for name in names {
                at.login(name, "opendoor").is(401, "unknown");
                at.login(name, tokens[0].password(0)).is(401, "unknown");
            }
        });
        let told = "another spelling of a listed name; if they are two people, add `#@ apart NAME` to the users file";
        assert!(at.server().error_log().contains(&format!("{told}, user \"alice@\"")));
        for token in &tokens {
            at.login(token.user(), token.password(0)).is(200, "granted-fresh");
        }
    })
}

fn listed_twins_are_two_users() -> Case {
    let [jose, other] = ["jose", "Jos\u{e9}"].map(|name| Token::hotp(name).pin(PIN));
    case(scope(&[&jose, &other]), move |at| {
        at.login(jose.user(), jose.password(0)).is(200, "granted-fresh");
        at.login(other.user(), other.wrong_code()).is_denied();
        at.login(other.user(), other.password(0)).is(200, "granted-fresh");
        at.login("jos\u{e9}", jose.password(1)).is(401, "unknown");
    })
}

fn name_set_apart_is_left_to_the_second_provider() -> Case {
    let jose = Token::hotp("jose");
    let refused: [&[u8]; 5] =
        [b"Jose", b"Jos\xe9", "Jose\u{301}".as_bytes(), "JOS\u{c9}".as_bytes(), b"jose@"];
    let scope =
        scope(&[&jose]).text("#@ apart Jos%C3%A9\n#@ apart Jose x\n#@apart jose@\n#@ apart jose\n");
    let scope = scope.second_provider("Jos\u{e9}", "opendoor").second_provider("jose", "opendoor");
    let scope = refused.iter().fold(scope, |scope, name| scope.second_provider(name, "opendoor"));
    case(scope, move |at| {
        at.login("Jos\u{e9}", "opendoor").is_status(200);
        at.login("Jos\u{e9}", "closeddoor").is_denied();
        at.login("Jos\u{e9}", jose.password(0)).is_denied();
        for name in refused {
            at.login(name, "opendoor").is(401, "unknown");
        }
        at.login("jose", "opendoor").is_denied();
        at.login("jose", jose.password(0)).is(200, "granted-fresh");
    })
    .needs(Capability::NextProvider)
}

fn name_that_is_not_utf8() -> Case {
    // Latin-1, as some browsers send it.
    let jorg = Token::hotp(b"j\xf6rg").pin(PIN);
    case(scope(&[&jorg]), move |at| {
        at.login(b"j\xf6rg", jorg.password(0)).is(200, "granted-fresh");
        assert_eq!(at.server().decisions("granted-fresh", r"j\xf6rg"), 1);
    })
}

fn name_cannot_forge_a_log_line() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.login("x\" granted-fresh \"forged", "whatever").is_denied();
        at.login("x\n[notice] granted-fresh \"forged", "whatever").is_denied();
        assert_eq!(at.server().decisions("granted-fresh", "forged"), 0);
        let hidden = r"x\x22 granted-fresh \x22forged";
        assert_eq!(at.server().decisions("unknown", hidden), 1);
    })
}

fn empty_name_is_refused() -> Case {
    let alice = alice();
    case(scope(&[&alice]), move |at| {
        at.users().stays_the_same(|| {
            at.login("", alice.password(0)).is_denied();
        });
    })
}

fn unreadable_line_denies_its_user_only() -> Case {
    let carol = Token::hotp("carol");
    let scope = Scope::new("")
        .text("# one line before it\nHOTP alice sesame9 31323334zz\n")
        .secret("31323334zz")
        .secret(PIN)
        .token(&carol)
        .second_provider("alice", "opendoor")
        .set(Setting::FallThrough, "On");
    case(scope, move |at| {
        at.expect_log(&format!("{}", at.users().path().display()));
        at.expect_log("one of the user's lines can't be read");
        at.login("alice", alice().password(0)).is_denied();
        at.login("alice", "opendoor").is_denied();
        at.login("carol", carol.password(0)).is(200, "granted-fresh");
    })
}

fn other_line_of_a_user_with_an_unreadable_one_still_grants() -> Case {
    let alice = alice();
    let scope =
        Scope::new("").text("HOTP alice sesame9 31323334zz\n").secret("31323334zz").token(&alice);
    case(scope, move |at| {
        at.expect_log(&format!("{}", at.users().path().display()));
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn switched_off_token_denies_its_user() -> Case {
    let alice = alice().off();
    let scope =
        scope(&[&alice]).second_provider("alice", "opendoor").set(Setting::FallThrough, "On");
    case(scope, move |at| {
        at.users().stays_the_same(|| {
            at.login("alice", alice.password(0)).is_denied();
            at.login("alice", "opendoor").is_denied();
        });
    })
}

fn switched_off_token_leaves_the_other_alone() -> Case {
    let (phone, fob) = phone_and_fob();
    let phone = phone.off();
    case(scope(&[&phone, &fob]), move |at| {
        at.login("alice", phone.password(0)).is(401, "denied-code");
        at.login("alice", fob.password(0)).is(200, "granted-fresh");
    })
}

fn fall_through_passes_on_what_fails_before_the_code() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol"));
    let scope = scope(&[&alice, &carol])
        .set(Setting::FallThrough, "On")
        .second_provider("alice", "opendoor")
        .second_provider("carol", "opendoor");
    case(scope, move |at| {
        // Wrong PIN; something before the code of a token without PIN.
        at.users().stays_the_same(|| {
            at.login("alice", "opendoor").is_status(200);
            at.login("carol", "opendoor").is_status(200);
            at.login("alice", "closeddoor").is_denied();
        });
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
    .needs(Capability::NextProvider)
}

fn fall_through_passes_no_wrong_code_on() -> Case {
    let (alice, carol) = (alice(), Token::hotp("carol"));
    let (wrong, short) = (alice.with(&alice.wrong_code()), "doors");
    let scope = scope(&[&alice, &carol])
        .set(Setting::FallThrough, "On")
        .second_provider("alice", &wrong)
        .second_provider("carol", short);
    case(scope, move |at| {
        at.login("alice", &wrong).is(401, "denied-code");
        assert_eq!(at.users().failures("alice"), 1);
        // Too short for a code is no wrong code.
        at.login("carol", short).is_status(200);
    })
    .needs(Capability::NextProvider)
}

fn user_who_is_not_required_is_refused_like_a_wrong_pin() -> Case {
    let (alice, bob) = (alice(), bob());
    let scope = scope(&[&alice, &bob])
        .set(Setting::RequireUser, "bob carol")
        .set(Setting::MaxFailures, 1)
        .set(Setting::MaxLinger, 600);
    case(scope, move |at| {
        at.users().stays_the_same(|| {
            let outsider = at.login("alice", alice.password(0));
            let wrong_pin = at.login("alice", format!("{WRONG_PIN}{}", alice.code(0)));
            outsider.is(401, "denied-user");
            wrong_pin.is(401, "denied-pin");
            assert_eq!(outsider.0.body, wrong_pin.0.body);
            // No code is looked at, so none is counted.
            at.login("alice", alice.with(&alice.wrong_code())).is(401, "denied-user");
        });
        at.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
        at.login("bob", bob.password(bob.step())).is(200, "granted-reuse");
        at.login("mallory", alice.password(0)).is(401, "unknown");
    })
}

fn users_and_members_of_groups_are_let_in_by_name_or_group() -> Case {
    let users = ["named", "staff", "admin", "both", "other", "Named"];
    let tokens = users.map(|user| Token::hotp(user).pin(PIN));
    let scope = scope(&tokens.each_ref())
        .group_file("staff: staff both\nothers: other\nadmins: admin both\n")
        .set(Setting::RequireUser, "named both")
        .set(Setting::RequireGroup, "staff admins nosuch");
    case(scope, move |at| {
        for (user, token) in users.iter().zip(&tokens) {
            let reply = at.login(user, token.password(0));
            match *user {
                "other" | "Named" => reply.is(401, "denied-user"),
                _ => reply.is(200, "granted-fresh"),
            };
        }
    })
}

fn whoever_leaves_the_group_is_out_at_once() -> Case {
    let alice = alice();
    let scope = scope(&[&alice])
        .group_file("staff: alice bob\n")
        .set(Setting::RequireGroup, "staff")
        .set(Setting::MaxLinger, 600);
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
        at.users().stays_the_same(|| {
            at.replace_group_file("staff: bob\n");
            at.login("alice", alice.password(0)).is(401, "denied-user");
            at.login("alice", alice.password(1)).is(401, "denied-user");
        });
        at.replace_group_file("staff: bob\nstaff: alice\n");
        at.login("alice", alice.password(0)).is(200, "granted-reuse");
        at.login("alice", alice.password(1)).is(200, "granted-fresh");
    })
}

fn group_file_is_read_as_httpd_does() -> Case {
    let ins = ["first", "second", "third", "quoted", "joined", "windows", "last"];
    let outs = ["comment", "colonless", "othergroup"];
    let tokens: Vec<Token> =
        ins.iter().chain(&outs).map(|user| Token::hotp(user).pin(PIN)).collect();
    let text = "# staff: comment\n  \nstaff colonless\n other : othergroup\nstaff:first\tsecond   third\n\
                staff: \"quoted\" join\\\ned\nstaff: windows\r\nstaff : last";
    let scope = scope(&tokens.iter().collect::<Vec<_>>());
    let scope = scope.group_file(text).set(Setting::RequireGroup, "staff");
    case(scope, move |at| {
        for (user, token) in ins.iter().chain(&outs).zip(&tokens) {
            let reply = at.login(user, token.password(0));
            match ins.contains(user) {
                true => reply.is(200, "granted-fresh"),
                false => reply.is(401, "denied-user"),
            };
        }
    })
}

fn group_file_that_cannot_be_read_refuses_those_who_need_it() -> Case {
    let (alice, bob) = (alice(), bob());
    let scope =
        scope(&[&alice, &bob]).set(Setting::RequireUser, "bob").set(Setting::RequireGroup, "staff");
    case(scope, move |at| {
        at.expect_log("No such file or directory; create it with lines of `GROUP: NAME NAME`");
        at.expect_log("the group file can't be used; see the next message, user \"alice\"");
        at.users().stays_the_same(|| {
            at.login("alice", format!("{WRONG_PIN}{}", alice.code(0))).is(401, "denied-pin");
            at.login("alice", alice.password(0)).is(500, "error");
        });
        at.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
        at.replace_group_file("staff: alice\n");
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
    })
}

fn fall_through_passes_nobody_on_who_is_not_required() -> Case {
    let alice = alice();
    let scope = scope(&[&alice])
        .set(Setting::RequireUser, "bob")
        .set(Setting::FallThrough, "On")
        .second_provider("alice", &alice.password(0));
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(401, "denied-user");
    })
}

fn wrong_pins_of_those_who_are_not_required_stay_wrong_pins() -> Case {
    let carol = Token::hotp("carol");
    let hashed = hashed_pins();
    let tokens: Vec<Token> = hashed.iter().map(|(_, token)| token.clone()).collect();
    let tokens: Vec<&Token> = tokens.iter().chain([&carol]).collect();
    case(scope(&tokens).set(Setting::RequireUser, "nobody"), move |at| {
        at.users().stays_the_same(|| {
            for (user, token) in &hashed {
                let wrong = format!("{WRONG_PIN}{}", token.code(0));
                at.login(user, wrong).is(401, "denied-pin");
                at.login(user, token.password(0)).is(401, "denied-user");
            }
            at.login("carol", format!("{PIN}{}", carol.code(0))).is(401, "denied-pin");
            at.login("carol", carol.code(0)).is(401, "denied-user");
        });
    })
}

fn forget_request_of_a_user_who_is_not_required_still_ends_the_code() -> Case {
    let alice = alice();
    let scope = scope(&[&alice])
        .group_file("staff: alice\n")
        .set(Setting::RequireGroup, "staff")
        .set(Setting::Forget, "On");
    case(scope, move |at| {
        at.login("alice", alice.password(0)).is(200, "granted-fresh");
        at.replace_group_file("staff: bob\n");
        at.login("alice", "").is(401, "forgotten");
        at.replace_group_file("staff: alice\n");
        at.login("alice", alice.password(0)).is(401, "denied-expired");
    })
}

fn many_requests_of_a_user_who_is_not_required_spend_nothing() -> Case {
    let (alice, bob) = (alice(), bob());
    let scope = scope(&[&alice, &bob])
        .set(Setting::RequireUser, "bob")
        .set(Setting::MaxFailures, 3)
        .set(Setting::Throttle, "1000 600");
    case(scope, move |at| {
        let requests: Vec<Request> = (0..32)
            .map(|number| match number % 4 {
                0 => at.request("alice", alice.with(&alice.wrong_code())),
                number => at.request("alice", alice.password(number)),
            })
            .collect();
        at.users().stays_the_same(|| {
            for reply in at.at_once(&requests) {
                reply.is(401, "denied-user");
            }
        });
        assert_eq!((at.users().counter("alice"), at.users().failures("alice")), (0, 0));
        at.login("bob", bob.password(bob.step())).is(200, "granted-fresh");
    })
}

fn a_user_who_is_not_required_has_as_many_tries_as_with_wrong_pins() -> Case {
    let [outsider, guesser] = ["outsider", "guesser"].map(|user| Token::hotp(user).pin(PIN));
    let scope = scope(&[&outsider, &guesser])
        .set(Setting::RequireUser, "guesser")
        .set(Setting::Throttle, "3 600");
    case(scope, move |at| {
        at.users().stays_the_same(|| {
            // The same again is the same try.
            for code in [0, 1, 1, 2] {
                at.login("outsider", outsider.password(code)).is(401, "denied-user");
                let wrong = format!("{WRONG_PIN}{}", guesser.code(code));
                at.login("guesser", wrong).is(401, "denied-pin");
            }
            at.login("outsider", outsider.password(3)).is(429, "denied-throttled");
            at.login("guesser", guesser.password(3)).is(429, "denied-throttled");
        });
    })
}

fn password_over_a_kibibyte_is_refused() -> Case {
    let longest = Token::hotp("longest").pin(&"p".repeat(1024 - 6));
    let longer = Token::hotp("longer").pin(&"p".repeat(1025 - 6));
    case(scope(&[&longest, &longer]), move |at| {
        at.login("longest", longest.password(0)).is(200, "granted-fresh");
        at.users().stays_the_same(|| {
            at.login("longer", longer.password(0)).is_denied();
        });
    })
}

fn control_characters_are_refused() -> Case {
    // The second provider would let them in if they were passed on as unknown.
    let names = ["da\x01ve", "da\x7fve", "dave\t"];
    let scope = names.iter().fold(Scope::new("").token(&alice()), |scope, name| {
        scope.second_provider(name, "opendoor")
    });
    let scope = scope.second_provider("erin", "open\x02door");
    case(scope, move |at| {
        for name in names {
            at.login(name, "opendoor").is_denied();
        }
        at.login("erin", "open\x02door").is_denied();
        at.login("alice", format!("{PIN}\n{}", alice().code(0))).is_denied();
        // Where the server hands over C strings, these end with what would have been right.
        at.login("alice", format!("{}\0", alice().password(0))).is_denied();
        at.login("alice", format!("{}\0more", alice().password(0))).is_denied();
    })
}

fn request_without_credentials_is_asked_for_them() -> Case {
    case(scope(&[&alice()]), |at| {
        let reply = at.send(Request::get(at.path("page.txt")));
        reply.is_status(401);
        let challenge = reply.0.header("WWW-Authenticate").unwrap_or_default();
        assert!(challenge.starts_with("Basic realm="), "{challenge}");
    })
}

fn credentials_that_cannot_be_parsed_are_refused() -> Case {
    case(scope(&[&alice()]), |at| {
        for value in ["Basic", "Basic ", "Basic !!!!", "Basic YWxpY2U=", "Bearer abc"] {
            let request = Request::get(at.path("page.txt")).header("Authorization", value);
            let reply: Reply = at.send(request);
            assert!([400, 401].contains(&reply.status()), "{value}: {reply:?}");
        }
    })
}
