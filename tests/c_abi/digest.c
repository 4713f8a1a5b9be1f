/* Digest logins: matching a response, spending the code behind it. */
#include "harness.h"

#include <pthread.h>
#include <string.h>

/* MD5("alice:area:Sesam-Open755224"), and the response that follows from it, by Python's hashlib. */
static const char known_ha1[] = "7cbd873ab557c84d7f1532d3473a135a";
#define HEADER                                                                                                         \
    "Digest username=\"alice\", realm=\"area\", nonce=\"n0nce\", uri=\"/page\", algorithm=MD5, qop=auth, nc=00000001, " \
    "cnonce=\"c0nce\", response="
#define RIGHT HEADER "\"14f441bfda8e484232bf56471bf06f7c\""
#define WRONG HEADER "\"14f441bfda8e484232bf56471bf06f7d\""

static otpgate_login digest_of(const otpgate_settings *settings, const char *authorization)
{
    otpgate_login login;
    memset(&login, 0, sizeof login);
    login.settings = settings;
    login.scheme = OTPGATE_DIGEST;
    login.user = str("alice");
    login.realm = str("area");
    login.method = str("GET");
    login.authorization = str(authorization);
    login.address = ipv4(192, 0, 2, 7);
    return login;
}

/* The first half's result word; ha1 must be the one above, or all NUL. */
static const char *match(otpgate_gate *gate, const otpgate_login *login)
{
    static const char nul[OTPGATE_HA1_LEN];
    struct {
        char ha1[OTPGATE_HA1_LEN], behind[8];
    } place;
    otpgate_answer answer = rubbish();
    int verdict;
    memset(&place, '~', sizeof place);
    verdict = otpgate_digest_match(gate, login, &answer, &place.ha1);
    expect_filled(&answer, verdict);
    EXPECT(verdict != OTPGATE_GRANTED);
    EXPECT(memcmp(place.ha1, verdict == OTPGATE_MATCHED ? known_ha1 : nul, OTPGATE_HA1_LEN) == 0);
    EXPECT(memcmp(place.behind, "~~~~~~~~", 8) == 0);
    return verdict == OTPGATE_MATCHED ? "matched" : answer.result;
}

static const char *spend(otpgate_gate *gate, const otpgate_login *login)
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
    otpgate_login login = digest_of(&settings, RIGHT);
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
    otpgate_login login = digest_of(&settings, RIGHT), other = login;
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    other.memory = &others;
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(match(gate, &other), "matched");
    EXPECT_TEXT(spend(gate, &other), "granted-fresh");
    EXPECT_TEXT(spend(gate, &login), "denied-expired");
    otpgate_gate_free(gate);
}

static void a_digest_grant_is_none_where_the_settings_refuse_it(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings(), once = strict_settings();
    otpgate_memory memory = {{0}}, second = {{0}};
    otpgate_login login = digest_of(&settings, RIGHT);
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(spend(gate, &login), "granted-fresh");
    /* It was a fresh code. */
    login.settings = &once;
    EXPECT_TEXT(match(gate, &login), "matched");
    EXPECT_TEXT(spend(gate, &login), "granted-fresh");
    EXPECT_NUMBER(line_count, 1);

    /* For the next request it is one that lingers where it may. */
    login.memory = &second;
    login.settings = &settings;
    EXPECT_TEXT(match(gate, &login), "matched");
    login.settings = &once;
    EXPECT_TEXT(match(gate, &login), "denied-expired");
    EXPECT_TEXT(spend(gate, &login), "denied-expired");
    login.settings = &settings;
    EXPECT_TEXT(spend(gate, &login), "granted-reuse");
    login.settings = &once;
    EXPECT_TEXT(match(gate, &login), "denied-expired");
    EXPECT_TEXT(spend(gate, &login), "denied-expired");
    otpgate_gate_free(gate);
}

static void a_response_to_a_wrong_password_is_refused_once_and_ha1_is_nul(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_memory memory = {{0}};
    otpgate_login login = digest_of(&settings, WRONG);
    write_users("HOTP alice " PIN " " KEY "\n");
    login.memory = &memory;
    EXPECT_TEXT(match(gate, &login), "denied-code");
    EXPECT_TEXT(match(gate, &login), "denied-code");
    EXPECT_TEXT(spend(gate, &login), "denied-code");
    EXPECT_TEXT(field("alice", 5), "");
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
        otpgate_login login = digest_of(&settings, RIGHT);
        otpgate_answer answer = rubbish();
        char ha1[OTPGATE_HA1_LEN];
        write_users(users[i]);
        line_count = 0;
        EXPECT_NUMBER(otpgate_digest_match(gate, &login, &answer, &ha1), OTPGATE_DENIED);
        EXPECT_NUMBER(line_count, 1);
        EXPECT_TEXT(field("alice", 5), "");
        otpgate_gate_free(gate);
    }
}

static void a_header_that_is_no_digest_is_denied(void)
{
    static const char *const headers[] = {"", "Digest", "Digest username=\"alice", "garbage"};
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    size_t i;
    write_users("HOTP alice " PIN " " KEY "\n");
    for (i = 0; i < sizeof headers / sizeof *headers; i++) {
        otpgate_login login = digest_of(&settings, headers[i]);
        line_count = 0;
        EXPECT_TEXT(match(gate, &login), "denied-code");
        EXPECT_NUMBER(line_count, 1);
        EXPECT_TEXT(spend(gate, &login), "denied-code");
    }
    EXPECT_TEXT(field("alice", 6), "");
    otpgate_gate_free(gate);
}

static void a_basic_header_has_no_hash(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = digest_of(&settings, "basic YWxpY2U6");
    otpgate_answer answer = rubbish();
    char ha1[OTPGATE_HA1_LEN];
    write_users("HOTP alice " PIN " " KEY "\n");
    EXPECT_TEXT(match(gate, &login), "error");
    EXPECT_NUMBER(otpgate_digest_match(gate, &login, &answer, &ha1), OTPGATE_DENIED);
    EXPECT(strstr(lines[0].text, "AuthBasicUseDigestAlgorithm") != NULL);
    EXPECT_TEXT(field("alice", 6), "");
    otpgate_gate_free(gate);
}

static void null_pointers_in_digest_are_errors_and_the_answer_is_filled_all_the_same(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = digest_of(&settings, RIGHT);
    otpgate_answer answer = rubbish();
    char ha1[OTPGATE_HA1_LEN];
    write_users("HOTP alice " PIN " " KEY "\n");
    EXPECT_NUMBER(otpgate_digest_match(gate, &login, NULL, &ha1), OTPGATE_ERROR);
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

/* ---- The whole protocol ---- */

static uint64_t memory_of_zone[512];
static pthread_mutex_t zone_mutex = PTHREAD_MUTEX_INITIALIZER;
static const otpgate_zone zone = {memory_of_zone, sizeof memory_of_zone, &zone_mutex};

static void lock_zone(void *mutex)
{
    EXPECT(mutex == &zone_mutex);
    EXPECT(pthread_mutex_lock(mutex) == 0);
}

static void unlock_zone(void *mutex)
{
    EXPECT(pthread_mutex_unlock(mutex) == 0);
}

static otpgate_gate *gate_with_zone(void)
{
    otpgate_host lent = host(OTPGATE_NGINX);
    otpgate_gate *gate;
    lent.lock_zone = lock_zone;
    lent.unlock_zone = unlock_zone;
    gate = otpgate_gate_new(&lent);
    EXPECT(gate != NULL);
    EXPECT_NUMBER(otpgate_zone_init(&zone), 0);
    return gate;
}

static otpgate_settings nginx_digest(void)
{
    otpgate_settings settings;
    memset(&settings, 0, sizeof settings);
    set(&settings, OTPGATE_NGINX, "auth_otp_users_file", "users", NULL);
    set(&settings, OTPGATE_NGINX, "auth_otp_scheme", "digest", NULL);
    return settings;
}

static void a_zone_that_is_too_small_or_missing_is_refused(void)
{
    static const otpgate_zone bad[] = {{NULL, 4096, NULL}, {memory_of_zone, 0, NULL}, {memory_of_zone, 64, NULL},
                                       {(char *)memory_of_zone + 1, 2048, NULL}};
    size_t i;
    EXPECT(otpgate_zone_init(NULL) != 0);
    for (i = 0; i < sizeof bad / sizeof *bad; i++)
        EXPECT(otpgate_zone_init(&bad[i]) != 0);
    EXPECT_NUMBER(otpgate_zone_init(&zone), 0);
}

static void challenges_are_those_of_the_scheme_and_fit_their_buffer(void)
{
    otpgate_gate *gate = gate_with_zone();
    otpgate_settings settings = nginx_digest(), none;
    otpgate_str challenges[OTPGATE_CHALLENGES_MAX];
    char buffer[OTPGATE_CHALLENGES_SIZE], realm[257];
    size_t count, i;
    memset(&none, 0, sizeof none);
    EXPECT_NUMBER(otpgate_settings_has_digest(&settings), 1);
    EXPECT_NUMBER(otpgate_settings_has_digest(&none), 0);
    EXPECT_NUMBER(otpgate_scheme(&settings, str("Digest x")), OTPGATE_DIGEST);
    EXPECT_NUMBER(otpgate_scheme(&settings, str("Basic x")), 0);
    EXPECT_NUMBER(otpgate_scheme(&none, str("Digest x")), 0);
    EXPECT_NUMBER(otpgate_scheme(&none, str("BASIC x")), OTPGATE_BASIC);
    EXPECT_NUMBER(otpgate_scheme(NULL, str("")), 0);

    count = otpgate_challenges(gate, &settings, str("area"), &zone, 1, &challenges, buffer, sizeof buffer, NULL);
    EXPECT_NUMBER(count, 2);
    for (i = 0; i < count; i++) {
        char text[512] = "";
        EXPECT(challenges[i].len < sizeof text);
        memcpy(text, challenges[i].data, challenges[i].len);
        EXPECT(strstr(text, "Digest realm=\"area\", nonce=\"") == text);
        EXPECT(strstr(text, i == 0 ? "algorithm=SHA-256" : "algorithm=MD5") != NULL);
        EXPECT(strstr(text, "stale=true") != NULL);
    }
    count = otpgate_challenges(gate, &none, str("area"), NULL, 0, &challenges, buffer, sizeof buffer, NULL);
    EXPECT_NUMBER(count, 1);
    EXPECT_NUMBER(challenges[0].len, strlen("Basic realm=\"area\", charset=\"UTF-8\""));

    /* The longest realm that the header promises room for, all of it to be escaped. */
    set(&settings, OTPGATE_NGINX, "auth_otp_scheme", "both", NULL);
    memset(realm, '"', sizeof realm);
    realm[256] = '\0';
    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str(realm), &zone, 1, &challenges, buffer, sizeof buffer, NULL), 3);
    EXPECT_NUMBER(line_count, 0);

    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str("a"), &zone, 0, &challenges, buffer, 100, NULL), 0);
    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str("a\n"), &zone, 0, &challenges, buffer, sizeof buffer, NULL), 0);
    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str("a"), NULL, 0, &challenges, buffer, sizeof buffer, NULL), 0);
    EXPECT_NUMBER(line_count, 3);
    EXPECT_NUMBER(otpgate_challenges(NULL, &settings, str("a"), &zone, 0, &challenges, buffer, sizeof buffer, NULL), 0);
    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str("a"), &zone, 0, NULL, buffer, sizeof buffer, NULL), 0);
    EXPECT_NUMBER(otpgate_challenges(gate, &settings, str("a"), &zone, 0, &challenges, NULL, sizeof buffer, NULL), 0);
    otpgate_gate_free(gate);
}

static const char *whole(otpgate_gate *gate, const otpgate_login *login)
{
    otpgate_answer answer = rubbish();
    expect_filled(&answer, otpgate_decide(gate, login, &answer));
    return answer.stale ? "stale" : answer.result;
}

static void a_nonce_of_another_server_decides_nothing(void)
{
    otpgate_gate *gate = gate_with_zone();
    otpgate_settings settings = nginx_digest();
    otpgate_login login = digest_of(&settings, RIGHT);
    otpgate_answer answer = rubbish();
    write_users("HOTP alice " PIN " " KEY "\n");
    login.target = str("/page");
    login.zone = &zone;
    login.method = str("GET /page HTTP/1.1");
    EXPECT_TEXT(whole(gate, &login), "stale");
    expect_filled(&answer, otpgate_decide_now(gate, &login, &answer));
    EXPECT_NUMBER(answer.stale, 1);
    EXPECT_NUMBER(line_count, 2);
    EXPECT_TEXT(field("alice", 5), "");

    login.target = str("/other");
    EXPECT_TEXT(whole(gate, &login), "denied-code");
    login.realm = str("other");
    EXPECT_TEXT(whole(gate, &login), "");
    login.authorization = str("garbage");
    EXPECT_TEXT(whole(gate, &login), "denied-code");
    EXPECT_TEXT(field("alice", 6), "");
    otpgate_gate_free(gate);
}

static void without_a_zone_a_digest_login_is_an_error(void)
{
    otpgate_gate *gate = gate_with_zone(), *lockless = new_gate(OTPGATE_NGINX);
    otpgate_settings settings = nginx_digest();
    otpgate_login login = digest_of(&settings, RIGHT);
    write_users("HOTP alice " PIN " " KEY "\n");
    EXPECT_TEXT(whole(gate, &login), "error");
    login.zone = &zone;
    EXPECT_TEXT(whole(lockless, &login), "error");
    memset(memory_of_zone, 0, sizeof memory_of_zone);
    EXPECT_TEXT(whole(gate, &login), "error");
    EXPECT_NUMBER(line_count, 3);
    EXPECT_TEXT(whole(NULL, &login), "error");
    EXPECT_TEXT(whole(gate, NULL), "error");
    otpgate_gate_free(gate);
    otpgate_gate_free(lockless);
}

#define CASE(name) {#name, name}
const struct test_case digest_cases[] = {
    CASE(a_response_is_matched_without_spending_and_spent_once),
    CASE(what_is_matched_may_be_gone_when_it_is_to_be_spent),
    CASE(a_digest_grant_is_none_where_the_settings_refuse_it),
    CASE(a_response_to_a_wrong_password_is_refused_once_and_ha1_is_nul),
    CASE(pins_that_digest_cannot_check_are_refused_with_a_log_line),
    CASE(a_header_that_is_no_digest_is_denied),
    CASE(a_basic_header_has_no_hash),
    CASE(null_pointers_in_digest_are_errors_and_the_answer_is_filled_all_the_same),
    CASE(a_zone_that_is_too_small_or_missing_is_refused),
    CASE(challenges_are_those_of_the_scheme_and_fit_their_buffer),
    CASE(a_nonce_of_another_server_decides_nothing),
    CASE(without_a_zone_a_digest_login_is_an_error),
    {NULL, NULL},
};
