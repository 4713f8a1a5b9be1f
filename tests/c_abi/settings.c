/* Settings: names, values, inheritance, the configuration test. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const apache_names[] = {
    "OTPAuthUsersFile",        "OTPAuthMaxOffset", "OTPAuthMaxLinger",       "OTPAuthMaxIdle",  "OTPAuthMaxOTPFailure",
    "OTPAuthLockoutTime",      "OTPAuthForget",    "OTPAuthPINAuthProvider", "OTPAuthPINCache", "OTPAuthFallThrough",
    "OTPAuthLogoutOnIPChange", "PINFakeBasicAuth", "OTPAuthAllowHex",        "OTPAuthRequireTLS"};
static const char *const nginx_names[] = {
    "auth_otp_users_file",          "auth_otp_max_offset",   "auth_otp_max_linger", "auth_otp_max_idle",
    "auth_otp_max_failures",        "auth_otp_lockout_time", "auth_otp_forget",     "auth_otp_pin_cache",
    "auth_otp_logout_on_ip_change", "auth_otp_allow_hex",    "auth_otp_require_tls", "auth_otp_pin_fake_basic"};

static void has_names(int server, const char *const *names, size_t count)
{
    size_t i, j;
    for (i = 0; i < count; i++) {
        int times = 0;
        for (j = 0; otpgate_setting_name(server, j) != NULL; j++)
            times += strcmp(otpgate_setting_name(server, j), names[i]) == 0;
        if (times != 1)
            fail(__FILE__, __LINE__, names[i]);
    }
}

static void settings_have_the_names_of_their_server_and_a_usage(void)
{
    static const int servers[] = {OTPGATE_APACHE, OTPGATE_NGINX};
    size_t s, i;
    has_names(OTPGATE_APACHE, apache_names, sizeof apache_names / sizeof *apache_names);
    has_names(OTPGATE_NGINX, nginx_names, sizeof nginx_names / sizeof *nginx_names);
    for (s = 0; s < 2; s++) {
        for (i = 0; otpgate_setting_name(servers[s], i) != NULL; i++) {
            EXPECT(strlen(otpgate_setting_name(servers[s], i)) > 0);
            EXPECT(strlen(otpgate_setting_usage(servers[s], i)) > 0);
        }
        EXPECT(i <= OTPGATE_SETTINGS_MAX);
        EXPECT(otpgate_setting_usage(servers[s], i) == NULL);
        EXPECT(otpgate_setting_name(servers[s], SIZE_MAX) == NULL);
        EXPECT(otpgate_setting_usage(servers[s], SIZE_MAX) == NULL);
    }
}

static void an_unknown_server_has_no_settings(void)
{
    static const int servers[] = {0, 3, -1};
    size_t s;
    for (s = 0; s < 3; s++) {
        otpgate_settings settings = {{0}};
        otpgate_str word = str("users");
        EXPECT(otpgate_setting_name(servers[s], 0) == NULL);
        EXPECT(otpgate_setting_usage(servers[s], 0) == NULL);
        EXPECT(otpgate_settings_set(NULL, &settings, &pool, servers[s], str("OTPAuthUsersFile"), &word, 1, str("a:1"), NULL, 0) != 0);
        EXPECT_NUMBER(otpgate_settings_asked_by_basic(&settings), 0);
    }
}

static void every_listed_name_is_a_setting(void)
{
    static const int servers[] = {OTPGATE_APACHE, OTPGATE_NGINX};
    size_t s, i;
    for (s = 0; s < 2; s++) {
        for (i = 0; otpgate_setting_name(servers[s], i) != NULL; i++) {
            const char *name = otpgate_setting_name(servers[s], i);
            otpgate_settings settings = {{0}};
            char error[512] = "";
            /* Without words it is refused for that, by its name. */
            EXPECT(otpgate_settings_set(NULL, &settings, &pool, servers[s], str(name), NULL, 0, str("a:1"), error, sizeof error) != 0);
            EXPECT(strncmp(error, name, strlen(name)) == 0);
            EXPECT(strstr(error, "not an otpgate setting") == NULL);
        }
    }
}

static void all_zero_says_nothing(void)
{
    otpgate_settings settings = {{0}};
    otpgate_str name = str("untouched");
    EXPECT_NUMBER(otpgate_settings_is_set(&settings), 0);
    EXPECT_NUMBER(otpgate_settings_is_set(NULL), 0);
    EXPECT_NUMBER(otpgate_settings_require_tls(&settings), 0);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&settings), 0);
    EXPECT_NUMBER(otpgate_settings_pin_provider(&settings, 0, &name), 0);
    EXPECT_NUMBER(name.len, strlen("untouched"));
    set(&settings, OTPGATE_APACHE, "OTPAuthRequireTLS", "Off", NULL);
    EXPECT_NUMBER(otpgate_settings_is_set(&settings), 1);
}

static void is_provider(const otpgate_settings *settings, size_t index, const char *name)
{
    otpgate_str found = {0, NULL};
    EXPECT_NUMBER(otpgate_settings_pin_provider(settings, index, &found), name != NULL);
    EXPECT(name == NULL || (found.len == strlen(name) && memcmp(found.data, name, found.len) == 0));
}

static void values_are_kept_and_copied_by_assignment(void)
{
    otpgate_settings settings = {{0}}, copy;
    set(&settings, OTPGATE_APACHE, "OTPAuthUsersFile", "users", NULL);
    set(&settings, OTPGATE_APACHE, "AuthBasicProvider", "OTP", NULL);
    set(&settings, OTPGATE_APACHE, "OTPAuthRequireTLS", "On", NULL);
    set(&settings, OTPGATE_APACHE, "OTPAuthPINAuthProvider", "file", "ldap", NULL);
    copy = settings;
    memset(&settings, 0xff, sizeof settings);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&copy), 1);
    EXPECT_NUMBER(otpgate_settings_require_tls(&copy), 1);
    is_provider(&copy, 0, "file");
    is_provider(&copy, 1, "ldap");
    is_provider(&copy, 2, NULL);
    is_provider(&copy, SIZE_MAX, NULL);
    EXPECT_NUMBER(otpgate_settings_pin_provider(&copy, 0, NULL), 0);
    set(&copy, OTPGATE_APACHE, "OTPAuthRequireTLS", "off", NULL);
    EXPECT_NUMBER(otpgate_settings_require_tls(&copy), 0);
}

static void what_was_passed_with_a_directive_may_change_once_it_is_set(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = {{0}}, more = {{0}}, out;
    char file[] = "users", first[] = "bob", second[] = "alice", provider[] = "ldap", place[] = "a:1";
    otpgate_str args[2];
    otpgate_login login = login_of(&out, "alice", code[0]);
    write_users("HOTP alice - " KEY "\n");
    args[0] = str(file);
    EXPECT(otpgate_settings_set(gate, &settings, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), args, 1, str(place), NULL, 0) == 0);
    args[0] = str(provider);
    EXPECT(otpgate_settings_set(gate, &settings, &pool, OTPGATE_APACHE, str("OTPAuthPINAuthProvider"), args, 1, str(place), NULL, 0) == 0);
    args[0] = str(first);
    args[1] = str(second);
    EXPECT(otpgate_settings_set(gate, &more, &pool, OTPGATE_APACHE, str("OTPAuthRequireUser"), args, 2, str(place), NULL, 0) == 0);
    otpgate_settings_merge(&out, OTPGATE_APACHE, &settings, &more);
    memset(&settings, 0xff, sizeof settings);
    memset(&more, 0xff, sizeof more);
    memset(args, 0, sizeof args);
    memset(file, '~', sizeof file);
    memset(first, '~', sizeof first);
    memset(second, '~', sizeof second);
    memset(provider, '~', sizeof provider);
    memset(place, '~', sizeof place);
    is_provider(&out, 0, "ldap");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    otpgate_gate_free(gate);
}

/* Gives so many times what it is asked for. */
static int times;

static void *allocate_seldom(void *pool, size_t size)
{
    (void)pool;
    return times-- > 0 ? malloc(size) : NULL;
}

static void *allocate_crookedly(void *pool, size_t size)
{
    (void)pool;
    return (char *)malloc(size + 1) + 1;
}

static void without_memory_a_directive_is_refused_and_changes_nothing(void)
{
    static const otpgate_pool seldom = {allocate_seldom, NULL}, crooked = {allocate_crookedly, NULL}, none = {NULL, NULL};
    otpgate_settings settings = {{0}}, before;
    otpgate_str word = str("alice");
    char error[512];
    int given;
    set(&settings, OTPGATE_APACHE, "OTPAuthMaxLinger", "60", NULL);
    before = settings;
    /* The word, the place, the list. */
    for (given = 0; given < 3; given++) {
        times = given;
        EXPECT(otpgate_settings_set(NULL, &settings, &seldom, OTPGATE_APACHE, str("OTPAuthRequireUser"), &word, 1, str("a:1"),
                                    error, sizeof error) != 0);
        EXPECT_TEXT(error, "OTPAuthRequireUser can't be kept: the server is out of memory");
        EXPECT(memcmp(&before, &settings, sizeof settings) == 0);
    }
    EXPECT(otpgate_settings_set(NULL, &settings, &crooked, OTPGATE_APACHE, str("OTPAuthRequireUser"), &word, 1, str("a:1"),
                                error, sizeof error) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &none, OTPGATE_APACHE, str("OTPAuthRequireUser"), &word, 1, str("a:1"),
                                error, sizeof error) != 0);
    times = 3;
    EXPECT(otpgate_settings_set(NULL, &settings, &seldom, OTPGATE_APACHE, str("OTPAuthRequireUser"), &word, 1, str("a:1"),
                                error, sizeof error) == 0);
}

static void nginx_has_its_own_names_and_takes_them_exactly(void)
{
    otpgate_settings settings = {{0}};
    otpgate_str word = str("on");
    set(&settings, OTPGATE_NGINX, "auth_otp_require_tls", "on", NULL);
    EXPECT_NUMBER(otpgate_settings_require_tls(&settings), 1);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_NGINX, str("AUTH_OTP_REQUIRE_TLS"), &word, 1, str(""), NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_NGINX, str("OTPAuthRequireTLS"), &word, 1, str(""), NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("auth_otp_require_tls"), &word, 1, str(""), NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("otpauthrequiretls"), &word, 1, str(""), NULL, 0) == 0);
}

static void bad_values_are_refused_with_the_reason(void)
{
    static const struct {
        const char *name, *word, *message;
    } table[] = {
        {"OTPAuthMaxOffset", "10001", "OTPAuthMaxOffset takes a number from 0 to 10000, not \"10001\""},
        {"OTPAuthMaxOffset", "", "OTPAuthMaxOffset takes a number from 0 to 10000, not \"\""},
        {"otpauthmaxoffset", "-1", "OTPAuthMaxOffset takes a number from 0 to 10000, not \"-1\""},
        {"OTPAuthMaxIdle", "15", "OTPAuthMaxIdle takes a time from 16 to 2147483647 seconds, such as 90, 10min or 1h, not \"15\""},
        {"OTPAuthRequireTLS", "maybe", "OTPAuthRequireTLS takes On or Off, not \"maybe\""},
        {"OTPAuthRequireTLS", "\n\xff", "OTPAuthRequireTLS takes On or Off, not \"\\n\\xff\""},
        {"OTPAuthUsersFile", "", "OTPAuthUsersFile takes a path, not an empty word"},
        {"OTPAuthNoSuch", "1", "OTPAuthNoSuch is not an otpgate setting"},
    };
    size_t i;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        otpgate_settings settings = {{0}}, before;
        otpgate_str word = str(table[i].word);
        char error[512];
        set(&settings, OTPGATE_APACHE, "OTPAuthMaxLinger", "60", NULL);
        before = settings;
        EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str(table[i].name), &word, 1, str("a:1"), error,
                                    sizeof error) != 0);
        EXPECT_TEXT(error, table[i].message);
        EXPECT(memcmp(&before, &settings, sizeof settings) == 0);
    }
}

static void the_reason_is_cut_to_its_place(void)
{
    static const char message[] = "OTPAuthMaxIdle takes a time from 16 to 2147483647 seconds, such as 90, 10min or 1h, not \"15\"";
    otpgate_settings settings = {{0}};
    otpgate_str word = str("15");
    size_t size;
    for (size = 0; size <= sizeof message + 1; size++) {
        char error[sizeof message + 4];
        size_t len = size == 0 ? 0 : size - 1;
        memset(error, '~', sizeof error);
        if (len > sizeof message - 1)
            len = sizeof message - 1;
        EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthMaxIdle"), &word, 1, str("a:1"), error,
                                    size) != 0);
        EXPECT(memcmp(error, message, len) == 0);
        EXPECT(size == 0 || error[len] == '\0');
        EXPECT(error[size == 0 ? 0 : len + 1] == '~');
    }
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthMaxIdle"), &word, 1, str("a:1"), NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthMaxIdle"), &word, 1, str("a:1"), NULL, 99) != 0);
}

static void null_pointers_are_refused(void)
{
    otpgate_settings settings = {{0}};
    otpgate_str nothing = {0, NULL}, word = str("On");
    EXPECT(otpgate_settings_set(NULL, NULL, &pool, OTPGATE_APACHE, str("OTPAuthForget"), &word, 1, nothing, NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthForget"), NULL, 1, nothing, NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, NULL, OTPGATE_APACHE, str("OTPAuthForget"), &word, 1, nothing, NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, nothing, &word, 1, nothing, NULL, 0) != 0);
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthForget"), &nothing, 1, nothing, NULL, 0) != 0);
    /* An empty place is no mistake. */
    EXPECT(otpgate_settings_set(NULL, &settings, &pool, OTPGATE_APACHE, str("OTPAuthForget"), &word, 1, nothing, NULL, 0) == 0);
}

static void a_realm_is_a_text_or_off(void)
{
    static const struct {
        const char *word, *reason;
        int realm;
    } table[] = {
        {"Site", "", OTPGATE_REALM_ON},
        {"off", "", OTPGATE_REALM_OFF},
        {"", "not an empty word", OTPGATE_REALM_BAD},
        {"a\nb", "without control characters", OTPGATE_REALM_BAD},
    };
    otpgate_gate *gate = new_gate(OTPGATE_NGINX);
    size_t i;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        char error[512] = "";
        EXPECT_NUMBER(otpgate_realm_of_directive(str(table[i].word), error, sizeof error), table[i].realm);
        EXPECT(strstr(error, table[i].reason) != NULL);
        EXPECT_NUMBER(otpgate_realm_of_directive(str(table[i].word), NULL, 0), table[i].realm);
    }
    EXPECT_NUMBER(otpgate_realm_of_request(gate, str("Site"), NULL), OTPGATE_REALM_ON);
    EXPECT_NUMBER(otpgate_realm_of_request(gate, str("off"), NULL), OTPGATE_REALM_OFF);
    EXPECT_NUMBER(line_count, 0);
    EXPECT_NUMBER(otpgate_realm_of_request(gate, str(""), NULL), OTPGATE_REALM_BAD);
    EXPECT_NUMBER(line_count, 1);
    EXPECT_NUMBER(otpgate_realm_of_request(NULL, str("Site"), NULL), OTPGATE_REALM_BAD);
    otpgate_gate_free(gate);
}

static void a_zone_is_a_name_and_a_size(void)
{
    char error[512] = "";
    size_t name_len = 0, size = 0;
    EXPECT_NUMBER(otpgate_zone_of_directive(str("nonces:1m"), 4096, &name_len, &size, error, sizeof error), 0);
    EXPECT_NUMBER(name_len, strlen("nonces"));
    EXPECT_NUMBER(size, 1024 * 1024);
    EXPECT_TEXT(error, "");
    EXPECT(otpgate_zone_of_directive(str("nonces"), 4096, &name_len, &size, error, sizeof error) != 0);
    EXPECT(strstr(error, "takes a name, a colon and a size") != NULL);
    EXPECT(otpgate_zone_of_directive(str("nonces"), 4096, &name_len, &size, NULL, 0) != 0);
    EXPECT(otpgate_zone_of_directive(str("nonces:1m"), 4096, NULL, &size, error, sizeof error) != 0);
    EXPECT(otpgate_zone_of_directive(str("nonces:1m"), 4096, &name_len, NULL, error, sizeof error) != 0);
}

static void a_child_overrides_what_it_sets_and_inherits_the_rest(void)
{
    otpgate_settings base = {{0}}, child = {{0}}, out;
    set(&base, OTPGATE_APACHE, "OTPAuthUsersFile", "users", NULL);
    set(&base, OTPGATE_APACHE, "AuthBasicProvider", "OTP", NULL);
    set(&base, OTPGATE_APACHE, "OTPAuthRequireTLS", "On", NULL);
    set(&base, OTPGATE_APACHE, "OTPAuthPINAuthProvider", "file", NULL);
    set(&child, OTPGATE_APACHE, "OTPAuthPINAuthProvider", "ldap", "dbm", NULL);

    memset(&out, 0xff, sizeof out);
    otpgate_settings_merge(&out, OTPGATE_APACHE, &base, &child);
    EXPECT_NUMBER(otpgate_settings_require_tls(&out), 1);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&out), 1);
    is_provider(&out, 1, "dbm");
    is_provider(&out, 2, NULL);

    set(&child, OTPGATE_APACHE, "OTPAuthRequireTLS", "Off", NULL);
    otpgate_settings_merge(&out, OTPGATE_APACHE, &base, &child);
    EXPECT_NUMBER(otpgate_settings_require_tls(&out), 0);

    /* Into the base, into the child. */
    out = base;
    otpgate_settings_merge(&out, OTPGATE_APACHE, &out, &child);
    EXPECT_NUMBER(otpgate_settings_require_tls(&out), 0);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&out), 1);
    otpgate_settings_merge(&child, OTPGATE_APACHE, &base, &child);
    EXPECT_NUMBER(otpgate_settings_require_tls(&child), 0);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&child), 1);
    /* A server that isn't known has no rules. */
    memset(&out, 0xff, sizeof out);
    otpgate_settings_merge(&out, 3, &base, &child);
    EXPECT_NUMBER(otpgate_settings_is_set(&out), 0);
    otpgate_settings_merge(NULL, OTPGATE_APACHE, &base, &child);
}

static void zero_failures_in_a_child_inherit_the_limit_on_apache_alone(void)
{
    static const struct {
        int server;
        const char *name, *second;
    } table[] = {
        {OTPGATE_APACHE, "OTPAuthMaxOTPFailure", "denied-locked"},
        {OTPGATE_NGINX, "auth_otp_max_failures", "granted-fresh"},
    };
    size_t i;
    for (i = 0; i < 2; i++) {
        otpgate_settings base = {{0}}, child = {{0}};
        otpgate_gate *gate = new_gate(table[i].server);
        otpgate_login login;
        write_users("HOTP alice - " KEY "\n");
        set(&base, table[i].server, i == 0 ? "OTPAuthUsersFile" : "auth_otp_users_file", "users", NULL);
        set(&base, table[i].server, table[i].name, "1", NULL);
        set(&child, table[i].server, table[i].name, "0", NULL);
        otpgate_settings_merge(&child, table[i].server, &base, &child);
        login = login_of(&child, "alice", "000000");
        EXPECT_TEXT(log_in(gate, &login), "denied-code");
        login.password = str(code[0]);
        EXPECT_TEXT(log_in(gate, &login), table[i].second);
        otpgate_gate_free(gate);
    }
}

static otpgate_identity myself(void)
{
    otpgate_identity identity;
    identity.uid = (uint32_t)geteuid();
    identity.gid = (uint32_t)getegid();
    return identity;
}

static void the_configuration_test_counts_errors_and_logs_each_with_its_place(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings good = {{0}}, missing = {{0}}, nothing = {{0}};
    otpgate_place places[3];
    otpgate_identity identity = myself();
    int sink;
    otpgate_str there = str("users"), gone = str("gone");
    write_users("HOTP alice " PIN " " KEY "\n");
    EXPECT(chmod("users", 0600) == 0);
    EXPECT(otpgate_settings_set(NULL, &good, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), &there, 1, str("good.conf:2"), NULL,
                                0) == 0);
    EXPECT(otpgate_settings_set(NULL, &missing, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), &gone, 1, str("bad.conf:3"), NULL,
                                0) == 0);
    memset(places, 0, sizeof places);
    places[0].settings = &good;
    places[1].settings = &missing;
    places[2].settings = &nothing;

    EXPECT_NUMBER(otpgate_places_check(gate, places, 0, NULL, 0, &identity, &sink), 0);
    EXPECT_NUMBER(otpgate_places_check(gate, places, 1, NULL, 0, &identity, &sink), 0);
    EXPECT_NUMBER(line_count, 0);
    EXPECT_NUMBER(otpgate_places_check(gate, places, 3, NULL, 0, &identity, &sink), 1);
    EXPECT_NUMBER(line_count, 1);
    EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_ERROR);
    EXPECT(lines[0].request == &sink);
    EXPECT(strncmp(lines[0].text, "bad.conf:3: error: ", 19) == 0);
    EXPECT(strstr(lines[0].text, "gone") != NULL);

    /* A warning is no error. */
    line_count = 0;
    EXPECT(chmod("users", 0644) == 0);
    EXPECT_NUMBER(otpgate_places_check(gate, places, 1, NULL, 0, &identity, &sink), 0);
    EXPECT_NUMBER(line_count, 1);
    EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_WARNING);
    EXPECT(strncmp(lines[0].text, "good.conf:2: warning: ", 22) == 0);
    otpgate_gate_free(gate);
}

static void the_configuration_test_reports_lines_without_pin_or_key(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_place place;
    otpgate_identity identity = myself();
    /* The log callback fails if PIN or key come through. */
    write_users("HOTP/X alice " PIN " " KEY "\nHOTP bob " PIN " " KEY "0\nHOTP carol $6$" PIN " " KEY "\n"
                "HOTP dave " PIN " " KEY " -5\n");
    EXPECT(chmod("users", 0600) == 0);
    memset(&place, 0, sizeof place);
    place.settings = &settings;
    EXPECT_NUMBER(otpgate_places_check(gate, &place, 1, NULL, 0, &identity, NULL), 4);
    EXPECT_NUMBER(line_count, 4);
    EXPECT(strstr(lines[0].text, "line 1") != NULL);
    EXPECT(strstr(lines[3].text, "line 4") != NULL);
    otpgate_gate_free(gate);
}

#define CASE(name) {#name, name}
const struct test_case settings_cases[] = {
    CASE(settings_have_the_names_of_their_server_and_a_usage),
    CASE(an_unknown_server_has_no_settings),
    CASE(every_listed_name_is_a_setting),
    CASE(all_zero_says_nothing),
    CASE(values_are_kept_and_copied_by_assignment),
    CASE(what_was_passed_with_a_directive_may_change_once_it_is_set),
    CASE(without_memory_a_directive_is_refused_and_changes_nothing),
    CASE(nginx_has_its_own_names_and_takes_them_exactly),
    CASE(bad_values_are_refused_with_the_reason),
    CASE(the_reason_is_cut_to_its_place),
    CASE(null_pointers_are_refused),
    CASE(a_realm_is_a_text_or_off),
    CASE(a_zone_is_a_name_and_a_size),
    CASE(a_child_overrides_what_it_sets_and_inherits_the_rest),
    CASE(zero_failures_in_a_child_inherit_the_limit_on_apache_alone),
    CASE(the_configuration_test_counts_errors_and_logs_each_with_its_place),
    CASE(the_configuration_test_reports_lines_without_pin_or_key),
    {NULL, NULL},
};
