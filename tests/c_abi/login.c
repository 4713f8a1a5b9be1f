/* Logins: verdicts, answers, the memory of a request, PIN providers, log lines. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void a_fresh_code_is_granted_and_lingers(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", PIN "755224");
    int request;
    write_users("HOTP alice " PIN " " KEY "\n");
    login.request = &request;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_TEXT(log_in(gate, &login), "granted-reuse");
    EXPECT_NUMBER(line_count, 2);
    EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_INFO);
    EXPECT(lines[0].request == &request);
    EXPECT(strncmp(lines[0].text, "granted-fresh", 13) == 0);
    EXPECT(strstr(lines[0].text, "\"alice\"") != NULL);
    EXPECT_TEXT(field("alice", 5), "1");
    EXPECT_TEXT(field("alice", 9), "192.0.2.7");
    otpgate_gate_free(gate);
}

static void refusals_have_their_words(void)
{
    static const struct {
        const char *user, *password;
        int verdict;
        const char *result;
        int level;
    } table[] = {
        {"alice", PIN "000000", OTPGATE_DENIED, "denied-code", OTPGATE_LOG_WARNING},
        {"alice", "sesam755224", OTPGATE_DENIED, "denied-pin", OTPGATE_LOG_WARNING},
        {"alice", "", OTPGATE_DENIED, "denied-code", OTPGATE_LOG_WARNING},
        {"alice", PIN "\n755224", OTPGATE_DENIED, "denied-code", OTPGATE_LOG_WARNING},
        {"mallory", PIN "755224", OTPGATE_UNKNOWN, "unknown", OTPGATE_LOG_INFO},
        {"", "", OTPGATE_UNKNOWN, "unknown", OTPGATE_LOG_INFO},
        {"Alice", PIN "755224", OTPGATE_DENIED, "unknown", OTPGATE_LOG_WARNING},
        {"carol", PIN "755224", OTPGATE_DENIED, "error", OTPGATE_LOG_ERROR},
        {"dave", "755224", OTPGATE_DENIED, "denied-locked", OTPGATE_LOG_WARNING},
    };
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    size_t i;
    write_users("HOTP alice " PIN " " KEY "\nHOTP/X carol " PIN " " KEY "\nOFF:HOTP dave - " KEY "\n");
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        otpgate_login login = login_of(&settings, table[i].user, table[i].password);
        otpgate_answer answer;
        line_count = 0;
        answer = answer_to(gate, &login);
        EXPECT_TEXT(answer.result, table[i].result);
        EXPECT_NUMBER(answer.verdict, table[i].verdict);
        EXPECT(line_count >= 1);
        EXPECT_NUMBER(lines[line_count - 1].level, table[i].level);
    }
    otpgate_gate_free(gate);
}

/* Decides at once; otherwise nothing may have come of it. */
static otpgate_answer answer_now(otpgate_gate *gate, const otpgate_login *login)
{
    otpgate_answer answer = rubbish();
    size_t lines_before = line_count;
    int verdict = otpgate_decide_now(gate, login, &answer);
    EXPECT_NUMBER(answer.verdict, verdict);
    if (verdict == OTPGATE_WOULD_BLOCK) {
        EXPECT_TEXT(answer.result, "error");
        EXPECT_NUMBER(answer.upstream_len, 0);
        EXPECT_NUMBER(line_count, lines_before);
    } else {
        expect_filled(&answer, verdict);
        EXPECT_NUMBER(line_count, lines_before + 1);
    }
    return answer;
}

static void what_needs_no_waiting_is_decided_at_once_and_nothing_else(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_memory memory = {{0}};
    otpgate_login fresh = login_of(&settings, "alice", PIN "755224");
    otpgate_login wrong_pin = login_of(&settings, "alice", "sesam755224");
    otpgate_login wrong_code = login_of(&settings, "alice", PIN "000000");
    otpgate_login nobody = login_of(&settings, "nobody", PIN "755224");
    otpgate_login unreadable = login_of(&settings, "carol", PIN "755224");
    write_users("HOTP alice " PIN " " KEY "\nHOTP/X carol " PIN " " KEY "\n");

    /* Nobody has read the file yet. */
    EXPECT_NUMBER(answer_now(gate, &nobody).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_NUMBER(answer_now(gate, &fresh).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_TEXT(field("alice", 5), "");
    /* The first login gives the lines their slots, which makes another file of it. */
    EXPECT_TEXT(log_in(gate, &fresh), "granted-fresh");
    EXPECT_NUMBER(answer_now(gate, &fresh).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_TEXT(log_in(gate, &fresh), "granted-reuse");
    EXPECT_TEXT(answer_now(gate, &fresh).result, "granted-reuse");
    fresh.password = str(PIN "287082");
    EXPECT_NUMBER(answer_now(gate, &fresh).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_TEXT(log_in(gate, &fresh), "granted-fresh");

    EXPECT_TEXT(answer_now(gate, &fresh).result, "granted-reuse");
    EXPECT_TEXT(answer_now(gate, &wrong_pin).result, "denied-pin");
    EXPECT_TEXT(answer_now(gate, &nobody).result, "unknown");

    /* A code to be looked for and counted; a line whose number takes reading the file. */
    EXPECT_NUMBER(answer_now(gate, &wrong_code).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_NUMBER(answer_now(gate, &unreadable).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_TEXT(field("alice", 6), "0");

    /* What was decided about the request needs no second look, whatever it was. */
    wrong_code.memory = &memory;
    EXPECT_NUMBER(answer_now(gate, &wrong_code).verdict, OTPGATE_WOULD_BLOCK);
    EXPECT_TEXT(log_in(gate, &wrong_code), "denied-code");
    line_count = 0;
    EXPECT_NUMBER(otpgate_decide_now(gate, &wrong_code, &(otpgate_answer){0}), OTPGATE_DENIED);
    EXPECT_NUMBER(line_count, 0);
    EXPECT_TEXT(field("alice", 6), "1");

    /* Somebody has edited the file. */
    write_users("HOTP alice " PIN " " KEY "\nHOTP bob - " KEY "\n");
    EXPECT_NUMBER(answer_now(gate, &nobody).verdict, OTPGATE_WOULD_BLOCK);

    EXPECT_NUMBER(otpgate_decide_now(gate, NULL, NULL), OTPGATE_ERROR);
    EXPECT_NUMBER(otpgate_decide_now(NULL, &fresh, NULL), OTPGATE_ERROR);
    otpgate_gate_free(gate);
}

static void a_slow_pin_is_decided_at_once_only_while_it_is_remembered(void)
{
    static const char hash[] = "$2y$04$P1lBgH.ReR7u6iB.IJfVHOaAuXgtzcifRZIhWVk8GCoQ6u9j3uQbu";
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login right = login_of(&settings, "alice", "sesame9755224");
    otpgate_login wrong = login_of(&settings, "alice", "simsim8755224");
    char line[256];
    snprintf(line, sizeof line, "HOTP alice %s " KEY "\n", hash);
    write_users(line);
    EXPECT_TEXT(log_in(gate, &right), "granted-fresh");
    EXPECT_TEXT(log_in(gate, &right), "granted-reuse");
    EXPECT_TEXT(answer_now(gate, &right).result, "granted-reuse");
    EXPECT_NUMBER(answer_now(gate, &wrong).verdict, OTPGATE_WOULD_BLOCK);
    set(&settings, OTPGATE_APACHE, "OTPAuthPINCache", "0", NULL);
    EXPECT_NUMBER(answer_now(gate, &right).verdict, OTPGATE_WOULD_BLOCK);
    otpgate_gate_free(gate);
}

static void without_a_usable_users_file_the_verdict_is_error(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings zero = {{0}}, gone = {{0}};
    otpgate_login login = login_of(&zero, "alice", code[0]);
    EXPECT_TEXT(log_in(gate, &login), "error");
    EXPECT(strstr(lines[0].text, "OTPAuthUsersFile") != NULL);
    login.settings = NULL;
    EXPECT_TEXT(log_in(gate, &login), "error");
    set(&gone, OTPGATE_APACHE, "OTPAuthUsersFile", "gone", NULL);
    login.settings = &gone;
    EXPECT_TEXT(log_in(gate, &login), "error");
    EXPECT_NUMBER(line_count, 3);
    EXPECT_NUMBER(lines[2].level, OTPGATE_LOG_ERROR);
    EXPECT(strstr(lines[2].text, "gone") != NULL);
    otpgate_gate_free(gate);
}

static void null_pointers_are_errors_and_the_answer_is_filled_all_the_same(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    write_users("HOTP alice - " KEY "\n");
    EXPECT_NUMBER(otpgate_decide(gate, &login, NULL), OTPGATE_ERROR);
    EXPECT_NUMBER(otpgate_decide(NULL, NULL, NULL), OTPGATE_ERROR);
    EXPECT_TEXT(log_in(NULL, &login), "error");
    EXPECT_TEXT(log_in(gate, NULL), "error");
    EXPECT_TEXT(field("alice", 5), "");
    otpgate_gate_free(gate);
}

static void empty_strings_may_be_null(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    otpgate_str nothing = {0, NULL};
    write_users("HOTP alice - " KEY "\n");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    login.user = nothing;
    login.password = nothing;
    EXPECT_TEXT(log_in(gate, &login), "unknown");
    otpgate_gate_free(gate);
}

static void bytes_end_at_their_length(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice and more", "755224 and more");
    write_users("HOTP alice - " KEY "\n");
    login.user.len = 5;
    login.password.len = 6;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    otpgate_gate_free(gate);
}

static void an_address_is_four_bytes_or_sixteen_or_none(void)
{
    static const struct {
        otpgate_address address;
        const char *saved;
    } table[] = {
        {{4, {192, 0, 2, 7, 0xff, 0xff}}, "192.0.2.7"},
        {{16, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, "2001:db8::1"},
        {{16, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 8}}, "192.0.2.8"},
        {{0, {192, 0, 2, 7}}, "-"},
        {{5, {192, 0, 2, 7}}, "-"},
        {{255, {192, 0, 2, 7}}, "-"},
    };
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    size_t i;
    write_users("HOTP alice - " KEY "\n");
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        otpgate_login login = login_of(&settings, "alice", code[i]);
        login.address = table[i].address;
        EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
        EXPECT_TEXT(field("alice", 9), table[i].saved);
    }
    otpgate_gate_free(gate);
}

static void without_tls_a_login_is_denied_where_the_settings_demand_it(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    otpgate_answer answer;
    write_users("HOTP alice - " KEY "\n");
    set(&settings, OTPGATE_APACHE, "OTPAuthRequireTLS", "On", NULL);
    answer = answer_to(gate, &login);
    EXPECT_NUMBER(answer.verdict, OTPGATE_DENIED);
    EXPECT_TEXT(answer.result, "error");
    EXPECT_NUMBER(line_count, 1);
    EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_WARNING);
    EXPECT(strstr(lines[0].text, "OTPAuthRequireTLS") != NULL);
    EXPECT_TEXT(field("alice", 5), "");
    login.has_tls = 1;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    otpgate_gate_free(gate);
}

static void a_login_of_no_known_scheme_is_an_error(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    write_users("HOTP alice - " KEY "\n");
    login.scheme = 0;
    EXPECT_TEXT(log_in(gate, &login), "error");
    login.scheme = 4;
    EXPECT_TEXT(log_in(gate, &login), "error");
    EXPECT_TEXT(field("alice", 5), "");
    otpgate_gate_free(gate);
}

static void a_login_is_copied_with_all_its_strings(void)
{
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", PIN "755224"), copy;
    otpgate_str *strings[] = {&copy.authorization, &copy.user, &copy.password, &copy.realm, &copy.method, &copy.target};
    const char *texts[] = {"Basic x", "alice", PIN "755224", "area", "GET / HTTP/1.1", "/"};
    char block[128];
    size_t size, i;
    login.authorization = str(texts[0]);
    login.realm = str(texts[3]);
    login.method = str(texts[4]);
    login.target = str(texts[5]);
    copy = login;
    size = otpgate_login_size(&login);
    EXPECT(size < sizeof block);
    memset(block, '~', sizeof block);
    otpgate_login_copy(&copy, block);
    EXPECT_NUMBER(block[size], '~');
    EXPECT(copy.settings == &settings && copy.address.len == 4 && copy.scheme == OTPGATE_BASIC);
    for (i = 0; i < sizeof strings / sizeof *strings; i++) {
        const char *data = (const char *)strings[i]->data;
        EXPECT_NUMBER(strings[i]->len, strlen(texts[i]));
        EXPECT(memcmp(data, texts[i], strings[i]->len) == 0);
        EXPECT(data >= block && data + strings[i]->len <= block + size);
    }
    /* Nothing at all is copied as such. */
    memset(&login, 0, sizeof login);
    EXPECT_NUMBER(otpgate_login_size(&login), 0);
    otpgate_login_copy(&login, block);
    EXPECT_NUMBER(login.user.len, 0);
    EXPECT_NUMBER(otpgate_login_size(NULL), 0);
    otpgate_login_copy(NULL, block);
    otpgate_login_copy(&copy, NULL);
}

static void who_is_over_a_budget_is_told_before_anybody_looks_at_the_pin(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", "000000");
    otpgate_answer answer;
    uint64_t connection = 0;
    write_users("HOTP alice - " KEY "\n");
    set(&settings, OTPGATE_APACHE, "OTPAuthThrottle", "1", "600", NULL);
    /* printf 'alice:000000' | base64 */
    login.authorization = str("Basic YWxpY2U6MDAwMDAw");
    login.connection = &connection;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT_NUMBER(connection, 0);
    /* Nobody has asked us for Basic here. */
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&settings), 0);
    EXPECT_NUMBER(otpgate_admit(gate, &login, &answer), 0);
    set(&settings, OTPGATE_APACHE, "AuthBasicProvider", "OTP", NULL);
    EXPECT_NUMBER(otpgate_settings_asked_by_basic(&settings), 1);
    EXPECT_NUMBER(otpgate_admit(gate, &login, &answer), OTPGATE_THROTTLED);
    EXPECT(answer.retry_after > 0);
    EXPECT_TEXT(answer.result, "denied-throttled");
    login.authorization = str("Bearer x");
    EXPECT_NUMBER(otpgate_admit(gate, &login, &answer), 0);
    login.authorization = str("");
    EXPECT_NUMBER(otpgate_admit(gate, &login, &answer), 0);
    EXPECT_NUMBER(otpgate_admit(NULL, &login, &answer), 0);
    EXPECT_NUMBER(otpgate_admit(gate, NULL, &answer), 0);
    otpgate_gate_free(gate);
}

static void credentials_granted_on_a_connection_are_known_there(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", "000000");
    uint64_t connection = 0, other = 0;
    /* printf 'alice:755224' | base64 */
    otpgate_str header = str("Basic YWxpY2U6NzU1MjI0");
    write_users("HOTP alice - " KEY "\n");
    login.authorization = header;
    login.connection = &connection;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT_NUMBER(otpgate_was_granted(&connection, header), 0);
    login.password = str(code[0]);
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_NUMBER(otpgate_was_granted(&connection, header), 1);
    EXPECT_NUMBER(otpgate_was_granted(&connection, str("Basic YWxpY2U6NzU1MjI1")), 0);
    EXPECT_NUMBER(otpgate_was_granted(&connection, str("")), 0);
    EXPECT_NUMBER(otpgate_was_granted(&other, header), 0);
    EXPECT_NUMBER(otpgate_was_granted(&other, str("")), 0);
    EXPECT_NUMBER(otpgate_was_granted(NULL, header), 0);
    otpgate_gate_free(gate);
}

static void a_gate_is_found_by_its_settings_or_by_the_path(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE), *other = new_gate(OTPGATE_APACHE);
    otpgate_settings base = {{0}}, child = {{0}}, merged;
    otpgate_str users = str("users"), others = str("others"), zero = str("0");
    otpgate_login login = login_of(&merged, "alice", code[0]);
    write_users("HOTP alice - 00\n");
    EXPECT(rename("users", "others") == 0);
    write_users("HOTP alice - " KEY "\n");
    EXPECT(otpgate_settings_set(gate, &base, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), &users, 1, str(""), NULL, 0) == 0);
    EXPECT(otpgate_settings_set(gate, &child, &pool, OTPGATE_APACHE, str("OTPAuthMaxLinger"), &zero, 1, str(""), NULL, 0) == 0);
    otpgate_settings_merge(&merged, OTPGATE_APACHE, &base, &child);
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    /* Settings of another gate. */
    login.password = str(code[1]);
    EXPECT_TEXT(log_in(other, &login), "granted-fresh");
    /* A section inside that names another file, for as long as the configuration and for a request. */
    EXPECT(otpgate_settings_set(gate, &child, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), &others, 1, str(""), NULL, 0) == 0);
    otpgate_settings_merge(&merged, OTPGATE_APACHE, &base, &child);
    login.password = str(code[2]);
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT(otpgate_settings_set(NULL, &child, &pool, OTPGATE_APACHE, str("OTPAuthUsersFile"), &users, 1, str(""), NULL, 0) == 0);
    otpgate_settings_merge(&merged, OTPGATE_APACHE, &base, &child);
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    otpgate_gate_free(gate);
    otpgate_gate_free(other);
}

static void what_servers_notice_is_logged_in_the_librarys_words(void)
{
    static const struct {
        int event, level;
        const char *subject, *text;
    } table[] = {
        {OTPGATE_EVENT_WITHOUT_TLS, OTPGATE_LOG_ERROR, "", "auth_otp_require_tls: request without TLS refused"},
        {OTPGATE_EVENT_OVERDUE, OTPGATE_LOG_ERROR, "", "a login has been running for more than 60000 ms"},
        {OTPGATE_EVENT_QUEUE_FULL, OTPGATE_LOG_ERROR, "", "too many logins are waiting for a thread"},
        {OTPGATE_EVENT_PART_REFUSED, OTPGATE_LOG_ERROR, "/a\n", "sub-request for \"/a\\x0a\" refused"},
        {OTPGATE_EVENT_PROVIDER_GONE, OTPGATE_LOG_ERROR, "file", "PIN provider \"file\" is no longer registered"},
        {OTPGATE_EVENT_NO_REFUSAL_MEMORY, OTPGATE_LOG_WARNING, "", "no shared memory"},
        {OTPGATE_EVENT_NOT_THE_PAGE, OTPGATE_LOG_ERROR, "/a", "the page to log in isn't there"},
    };
    otpgate_gate *gate = new_gate(OTPGATE_NGINX);
    int request;
    size_t i;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        otpgate_log_event(gate, table[i].event, str(table[i].subject), &request);
        EXPECT_NUMBER(line_count, i + 1);
        EXPECT_NUMBER(lines[i].level, table[i].level);
        EXPECT(lines[i].request == &request);
        EXPECT(strstr(lines[i].text, table[i].text) != NULL);
    }
    otpgate_log_event(gate, 0, str(""), NULL);
    otpgate_log_event(gate, 8, str(""), NULL);
    otpgate_log_event(NULL, OTPGATE_EVENT_OVERDUE, str(""), NULL);
    EXPECT_NUMBER(line_count, i);
    otpgate_gate_free(gate);
}

static void a_request_is_judged_once(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings(), other = strict_settings();
    otpgate_memory memory = {{0}}, next = {{0}};
    otpgate_login login = login_of(&settings, "alice", code[0]);
    write_users("HOTP alice - " KEY "\nHOTP bob - " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    /* A sub-request under other settings of the same file. */
    set(&other, OTPGATE_APACHE, "OTPAuthMaxOffset", "0", NULL);
    login.settings = &other;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_NUMBER(line_count, 1);
    EXPECT_TEXT(field("alice", 5), "1");
    /* Without its memory it is a request of its own. */
    login.memory = NULL;
    EXPECT_TEXT(log_in(gate, &login), "denied-expired");
    login.memory = &next;
    EXPECT_TEXT(log_in(gate, &login), "denied-expired");
    /* And so are other credentials with the same memory. */
    login.memory = &memory;
    login.user = str("bob");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_TEXT(field("bob", 5), "1");
    otpgate_gate_free(gate);
}

static void a_grant_is_none_where_the_settings_refuse_it(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings(), narrow = strict_settings();
    otpgate_memory memory = {{0}}, copy;
    otpgate_login login = login_of(&settings, "alice", code[2]);
    write_users("HOTP alice - " KEY "\n");
    set(&narrow, OTPGATE_APACHE, "OTPAuthMaxOffset", "1", NULL);
    login.memory = &memory;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    copy = memory;
    login.settings = &narrow;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    login.memory = &copy;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    login.settings = &settings;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_TEXT(field("alice", 5), "3");
    EXPECT_TEXT(field("alice", 6), "0");
    otpgate_gate_free(gate);
}

static void a_part_is_granted_with_its_request_alone(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings(), narrow = apache_settings();
    otpgate_memory memory = {{0}}, none = {{0}};
    otpgate_login login = login_of(&settings, "alice", code[2]);
    otpgate_answer answer;
    write_users("HOTP alice - " KEY "\n");
    set(&narrow, OTPGATE_APACHE, "OTPAuthMaxOffset", "1", NULL);
    login.is_part = 1;
    login.memory = &none;
    EXPECT_NUMBER(otpgate_decide(gate, &login, &answer), OTPGATE_DENIED);
    EXPECT_NUMBER(otpgate_decide_now(gate, &login, &answer), OTPGATE_DENIED);
    EXPECT_TEXT(field("alice", 5), "");
    login.is_part = 0;
    login.memory = &memory;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    login.is_part = 1;
    EXPECT_NUMBER(otpgate_decide(gate, &login, &answer), OTPGATE_GRANTED);
    EXPECT_NUMBER(otpgate_decide_now(gate, &login, &answer), OTPGATE_GRANTED);
    login.settings = &narrow;
    EXPECT_NUMBER(otpgate_decide(gate, &login, &answer), OTPGATE_DENIED);
    /* A lingering code is none of a request that wasn't judged. */
    login.settings = &settings;
    login.memory = &none;
    EXPECT_NUMBER(otpgate_decide(gate, &login, &answer), OTPGATE_DENIED);
    login.memory = NULL;
    EXPECT_NUMBER(otpgate_decide(gate, &login, &answer), OTPGATE_DENIED);
    EXPECT_TEXT(field("alice", 5), "3");
    otpgate_gate_free(gate);
}

static void a_grant_for_one_users_file_is_none_for_another(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings(), other = {{0}};
    otpgate_memory memory = {{0}};
    otpgate_login login = login_of(&settings, "alice", code[0]);
    write_users("HOTP alice - 00\n");
    EXPECT(rename("users", "others") == 0);
    write_users("HOTP alice - " KEY "\n");
    set(&other, OTPGATE_APACHE, "OTPAuthUsersFile", "others", NULL);
    login.memory = &memory;
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    login.settings = &other;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    /* By another path it is the same file. */
    EXPECT(symlink("users", "again") == 0);
    set(&other, OTPGATE_APACHE, "OTPAuthUsersFile", "again", NULL);
    set(&other, OTPGATE_APACHE, "OTPAuthMaxLinger", "0", NULL);
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    otpgate_gate_free(gate);
}

static void a_wrong_code_counts_once_for_a_request(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_memory memory = {{0}};
    otpgate_login login = login_of(&settings, "alice", "000000");
    write_users("HOTP alice - " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT_TEXT(field("alice", 6), "1");
    login.memory = NULL;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT_TEXT(field("alice", 6), "2");
    otpgate_gate_free(gate);
}

static void after_a_grant_upstream_sees_user_and_pin_where_asked(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings plain = apache_settings(), fake = apache_settings();
    otpgate_memory memory = {{0}};
    otpgate_login login = login_of(&plain, "alice", PIN "755224");
    otpgate_answer answer;
    /* printf 'alice:Sesam-Open' | base64 */
    static const char header[] = "Basic YWxpY2U6U2VzYW0tT3Blbg==";
    write_users("HOTP alice " PIN " " KEY "\n");
    set(&fake, OTPGATE_APACHE, "PINFakeBasicAuth", "On", NULL);
    EXPECT_NUMBER(answer_to(gate, &login).upstream_len, 0);

    login.settings = &fake;
    login.memory = &memory;
    answer = answer_to(gate, &login);
    EXPECT_NUMBER(answer.upstream_len, sizeof header - 1);
    EXPECT(memcmp(answer.upstream, header, sizeof header - 1) == 0);
    /* The server has put the header in place: the same request comes with the PIN alone, and is granted. */
    login.password = str(PIN);
    answer = answer_to(gate, &login);
    EXPECT_NUMBER(answer.verdict, OTPGATE_GRANTED);
    EXPECT_NUMBER(answer.upstream_len, sizeof header - 1);
    EXPECT(memcmp(answer.upstream, header, sizeof header - 1) == 0);
    /* In another request the PIN alone is no login. */
    login.memory = NULL;
    EXPECT_NUMBER(answer_to(gate, &login).verdict, OTPGATE_DENIED);
    login.password = str(PIN "000000");
    EXPECT_NUMBER(answer_to(gate, &login).upstream_len, 0);
    otpgate_gate_free(gate);
}

static void the_longest_name_and_pin_fit_the_upstream_header(void)
{
    enum { USER = 255, DIGITS = 1, PIN_LEN = 1024 - DIGITS };
    static char user[USER + 1], password[PIN_LEN + DIGITS + 1], line[USER + PIN_LEN + 200];
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login;
    otpgate_answer answer;
    memset(user, 'u', USER);
    memset(password, 'p', PIN_LEN);
    snprintf(line, sizeof line, "HOTP/E/1 %s %s " KEY "\n", user, password);
    write_users(line);
    password[PIN_LEN] = '4'; /* the last digit of RFC 4226's first code */
    set(&settings, OTPGATE_APACHE, "PINFakeBasicAuth", "On", NULL);
    login = login_of(&settings, user, password);
    answer = answer_to(gate, &login);
    EXPECT_TEXT(answer.result, "granted-fresh");
    EXPECT_NUMBER(answer.upstream_len, 6 + (USER + 1 + PIN_LEN + 2) / 3 * 4);
    otpgate_gate_free(gate);
}

static int pin_answer;
static int pin_questions;
static int pin_request;

static int check_pin(void *request, otpgate_str user, otpgate_str pin)
{
    pin_questions++;
    EXPECT(request == &pin_request);
    EXPECT(user.len == 5 && memcmp(user.data, "alice", 5) == 0);
    EXPECT(pin.len == strlen(PIN) && memcmp(pin.data, PIN, pin.len) == 0);
    return pin_answer;
}

static void an_external_pin_is_asked_of_the_host_and_odd_answers_are_errors(void)
{
    static const struct {
        int answer;
        int verdict;
        const char *result;
    } table[] = {
        {OTPGATE_PIN_WRONG, OTPGATE_DENIED, "denied-pin"}, {OTPGATE_PIN_UNKNOWN, OTPGATE_DENIED, "denied-pin"},
        {OTPGATE_PIN_ERROR, OTPGATE_ERROR, "error"},       {0, OTPGATE_ERROR, "error"},
        {-1, OTPGATE_ERROR, "error"},                      {5, OTPGATE_ERROR, "error"},
        {0x101, OTPGATE_ERROR, "error"},                   {OTPGATE_PIN_RIGHT, OTPGATE_GRANTED, "granted-fresh"},
    };
    otpgate_host lent = host(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", PIN "755224");
    otpgate_gate *gate;
    size_t i;
    lent.check_pin = check_pin;
    gate = otpgate_gate_new(&lent);
    write_users("HOTP alice + " KEY "\n");
    set(&settings, OTPGATE_APACHE, "OTPAuthPINAuthProvider", "file", NULL);
    login.request = &pin_request;
    for (i = 0; i < sizeof table / sizeof *table; i++) {
        otpgate_answer answer;
        pin_answer = table[i].answer;
        pin_questions = 0;
        answer = answer_to(gate, &login);
        EXPECT_NUMBER(pin_questions, 1);
        EXPECT_NUMBER(answer.verdict, table[i].verdict);
        EXPECT_TEXT(answer.result, table[i].result);
    }
    EXPECT_TEXT(field("alice", 6), "0");
    otpgate_gate_free(gate);
}

static void an_external_pin_without_anybody_to_ask_is_refused_with_a_log_line(void)
{
    otpgate_host lent = host(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", PIN "755224");
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    write_users("HOTP alice + " KEY "\n");
    login.request = &pin_request;
    pin_answer = OTPGATE_PIN_RIGHT;

    /* A callback, but no provider in the section. */
    otpgate_gate_free(gate);
    lent.check_pin = check_pin;
    gate = otpgate_gate_new(&lent);
    EXPECT_TEXT(log_in(gate, &login), "denied-pin");
    EXPECT_NUMBER(pin_questions, 0);
    EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_ERROR);

    /* A provider, but no callback. */
    otpgate_gate_free(gate);
    gate = new_gate(OTPGATE_APACHE);
    set(&settings, OTPGATE_APACHE, "OTPAuthPINAuthProvider", "file", NULL);
    EXPECT_TEXT(log_in(gate, &login), "denied-pin");
    EXPECT_NUMBER(lines[1].level, OTPGATE_LOG_ERROR);
    EXPECT_NUMBER(line_count, 2);
    otpgate_gate_free(gate);
}

static void log_lines_are_printable_whatever_names_and_paths_hold(void)
{
    /* The log callback itself insists on printable ASCII. */
    otpgate_gate *gate = new_gate(OTPGATE_NGINX);
    otpgate_settings settings = {{0}}, odd = {{0}};
    static const char user[] = "al\nice\"\\\0\x7f\x80\xff";
    otpgate_login login = login_of(&settings, "", "755224");
    set(&settings, OTPGATE_NGINX, "auth_otp_users_file", "users", NULL);
    write_users("HOTP J\xe4s\xf8n - " KEY "\n");
    login.user.data = (const unsigned char *)user;
    login.user.len = sizeof user - 1;
    EXPECT_TEXT(log_in(gate, &login), "denied-code");
    EXPECT(strstr(lines[0].text, "\"al\\x0aice\\x22\\x5c\\x00\\x7f\\x80\\xff\"") != NULL);

    login.user = str("J\xe4s\xf8n");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT(strstr(lines[1].text, "\"J\\xe4s\\xf8n\"") != NULL);

    login.user = str("%s%n%s");
    EXPECT_TEXT(log_in(gate, &login), "unknown");
    EXPECT(strstr(lines[2].text, "\"%s%n%s\"") != NULL);

    set(&odd, OTPGATE_NGINX, "auth_otp_users_file", "caf\xc3\xa9\x1b[2J\n", NULL);
    login.settings = &odd;
    EXPECT_TEXT(log_in(gate, &login), "error");
    EXPECT(strstr(lines[3].text, "caf\\xc3\\xa9\\x1b[2J\\x0a") != NULL);
    EXPECT_NUMBER(line_count, 4);
    otpgate_gate_free(gate);
}

#define CASE(name) {#name, name}
const struct test_case login_cases[] = {
    CASE(a_fresh_code_is_granted_and_lingers),
    CASE(refusals_have_their_words),
    CASE(what_needs_no_waiting_is_decided_at_once_and_nothing_else),
    CASE(a_slow_pin_is_decided_at_once_only_while_it_is_remembered),
    CASE(without_a_usable_users_file_the_verdict_is_error),
    CASE(null_pointers_are_errors_and_the_answer_is_filled_all_the_same),
    CASE(empty_strings_may_be_null),
    CASE(bytes_end_at_their_length),
    CASE(an_address_is_four_bytes_or_sixteen_or_none),
    CASE(without_tls_a_login_is_denied_where_the_settings_demand_it),
    CASE(a_login_of_no_known_scheme_is_an_error),
    CASE(a_login_is_copied_with_all_its_strings),
    CASE(credentials_granted_on_a_connection_are_known_there),
    CASE(who_is_over_a_budget_is_told_before_anybody_looks_at_the_pin),
    CASE(a_gate_is_found_by_its_settings_or_by_the_path),
    CASE(what_servers_notice_is_logged_in_the_librarys_words),
    CASE(a_request_is_judged_once),
    CASE(a_grant_is_none_where_the_settings_refuse_it),
    CASE(a_part_is_granted_with_its_request_alone),
    CASE(a_grant_for_one_users_file_is_none_for_another),
    CASE(a_wrong_code_counts_once_for_a_request),
    CASE(after_a_grant_upstream_sees_user_and_pin_where_asked),
    CASE(the_longest_name_and_pin_fit_the_upstream_header),
    CASE(an_external_pin_is_asked_of_the_host_and_odd_answers_are_errors),
    CASE(an_external_pin_without_anybody_to_ask_is_refused_with_a_log_line),
    CASE(log_lines_are_printable_whatever_names_and_paths_hold),
    {NULL, NULL},
};
