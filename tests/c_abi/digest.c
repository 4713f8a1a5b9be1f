/* Digest logins: matching a response, spending the code behind it. */
#include "harness.h"

#include <string.h>

/* MD5("alice:area:Sesam-Open755224"), and the response that follows from it, by Python's hashlib. */
static const char known_ha1[] = "7cbd873ab557c84d7f1532d3473a135a";
#define HEADER                                                                                                         \
    "Digest username=\"alice\", realm=\"area\", nonce=\"n0nce\", uri=\"/page\", algorithm=MD5, qop=auth, nc=00000001, " \
    "cnonce=\"c0nce\", response="
#define RIGHT HEADER "\"14f441bfda8e484232bf56471bf06f7c\""
#define WRONG HEADER "\"14f441bfda8e484232bf56471bf06f7d\""

static otpgate_digest digest_of(const otpgate_settings *settings, const char *authorization)
{
    otpgate_digest login;
    memset(&login, 0, sizeof login);
    login.settings = settings;
    login.user = str("alice");
    login.realm = str("area");
    login.method = str("GET");
    login.authorization = str(authorization);
    login.address = str("192.0.2.7");
    return login;
}

/* The first half's result word; ha1 must be the one above, or all NUL. */
static const char *match(otpgate_gate *gate, const otpgate_digest *login)
{
    static const char nul[OTPGATE_HA1_LEN];
    char ha1[OTPGATE_HA1_LEN + 8];
    otpgate_answer answer = rubbish();
    int verdict;
    memset(ha1, '~', sizeof ha1);
    verdict = otpgate_digest_match(gate, login, &answer, ha1);
    expect_filled(&answer, verdict);
    EXPECT(memcmp(ha1, verdict == OTPGATE_GRANTED ? known_ha1 : nul, OTPGATE_HA1_LEN) == 0);
    EXPECT(memcmp(ha1 + OTPGATE_HA1_LEN, "~~~~~~~~", 8) == 0);
    return verdict == OTPGATE_GRANTED ? "matched" : answer.result;
}

static const char *spend(otpgate_gate *gate, const otpgate_digest *login)
{
    otpgate_answer answer = rubbish();
    expect_filled(&answer, otpgate_digest_spend(gate, login, &answer));
    return answer.result;
}

static void a_response_is_matched_without_spending_and_spent_once(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_memory memory = {{0}};
    otpgate_digest login = digest_of(&settings, RIGHT);
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(field("alice", 5), "");
    EXPECT_NUMBER(line_count, 0);
    EXPECT_TEXT(spend(gate, &login), "granted-fresh");
    EXPECT_TEXT(field("alice", 5), "1");
    EXPECT_NUMBER(line_count, 1);
    /* A sub-request of the same request. */
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(spend(gate, &login), "granted-fresh");
    EXPECT_NUMBER(line_count, 1);
    /* Another request. */
    login.memory = NULL;
    EXPECT_TEXT(match(gate, &login), "denied-expired");
    EXPECT_TEXT(spend(gate, &login), "denied-expired");
    otpgate_gate_free(gate);
}

static void what_is_matched_may_be_gone_when_it_is_to_be_spent(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_memory memory = {{0}}, others = {{0}};
    otpgate_digest login = digest_of(&settings, RIGHT), other = login;
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    other.memory = &others;
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(match(gate, &other), "matched");
    EXPECT_TEXT(spend(gate, &other), "granted-fresh");
    EXPECT_TEXT(spend(gate, &login), "denied-expired");
    otpgate_gate_free(gate);
}

static void a_response_to_a_wrong_password_is_counted_once_and_ha1_is_nul(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_memory memory = {{0}};
    otpgate_digest login = digest_of(&settings, WRONG);
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(match(gate, &login), "denied-code");
    EXPECT_TEXT(match(gate, &login), "denied-code");
    EXPECT_TEXT(spend(gate, &login), "denied-code");
    EXPECT_TEXT(field("alice", 6), "1");
    EXPECT_TEXT(field("alice", 5), "0");
    EXPECT_NUMBER(line_count, 1);
    otpgate_gate_free(gate);
}

static void pins_that_digest_cannot_check_are_refused_with_a_log_line(void)
{
    static const char *const users[] = {
        "HOTP alice + " KEY "\n",
        "HOTP alice $2y$05$lXGQBDT09PU0BUoTBUSbRuqQMwTF958HkK/qn25O6j6VbzgsXsYyO " KEY "\n"};
    size_t i;
    for (i = 0; i < 2; i++) {
        otpgate_gate *gate = new_gate(OTPGATE_APACHE);
        otpgate_settings settings = apache_settings();
        otpgate_digest login = digest_of(&settings, RIGHT);
        otpgate_answer answer = rubbish();
        char ha1[OTPGATE_HA1_LEN];
        write_users(users[i]);
        line_count = 0;
        EXPECT_NUMBER(otpgate_digest_match(gate, &login, &answer, ha1), OTPGATE_DENIED);
        EXPECT_NUMBER(line_count, 1);
        EXPECT_TEXT(field("alice", 5), "");
        otpgate_gate_free(gate);
    }
}

static void a_header_that_is_no_digest_is_denied(void)
{
    static const char *const headers[] = {"", "Digest", "Basic YWxpY2U6", "Digest username=\"alice", "garbage"};
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    size_t i;
    write_users("HOTP alice " PIN " " KEY "\n");
    for (i = 0; i < sizeof headers / sizeof *headers; i++) {
        otpgate_digest login = digest_of(&settings, headers[i]);
        line_count = 0;
        EXPECT_TEXT(match(gate, &login), "denied-code");
        EXPECT_NUMBER(line_count, 1);
        EXPECT_TEXT(spend(gate, &login), "denied-code");
    }
    EXPECT_TEXT(field("alice", 6), "");
    otpgate_gate_free(gate);
}

static void null_pointers_in_digest_are_errors_and_the_answer_is_filled_all_the_same(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_digest login = digest_of(&settings, RIGHT);
    otpgate_answer answer = rubbish();
    char ha1[OTPGATE_HA1_LEN];
    write_users("HOTP alice " PIN " " KEY "\n");
    EXPECT_NUMBER(otpgate_digest_match(gate, &login, NULL, ha1), OTPGATE_ERROR);
    EXPECT_NUMBER(otpgate_digest_spend(gate, &login, NULL), OTPGATE_ERROR);
    expect_filled(&answer, otpgate_digest_match(gate, &login, &answer, NULL));
    EXPECT_NUMBER(answer.verdict, OTPGATE_ERROR);
    EXPECT_TEXT(match(gate, NULL), "error");
    EXPECT_TEXT(spend(gate, NULL), "error");
    EXPECT_TEXT(match(NULL, &login), "error");
    EXPECT_TEXT(spend(NULL, &login), "error");
    EXPECT_TEXT(field("alice", 5), "");
    otpgate_gate_free(gate);
}

#define CASE(name) {#name, name}
const struct test_case digest_cases[] = {
    CASE(a_response_is_matched_without_spending_and_spent_once),
    CASE(what_is_matched_may_be_gone_when_it_is_to_be_spent),
    CASE(a_response_to_a_wrong_password_is_counted_once_and_ha1_is_nul),
    CASE(pins_that_digest_cannot_check_are_refused_with_a_log_line),
    CASE(a_header_that_is_no_digest_is_denied),
    CASE(null_pointers_in_digest_are_errors_and_the_answer_is_filled_all_the_same),
    {NULL, NULL},
};
