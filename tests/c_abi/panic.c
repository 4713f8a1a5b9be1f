/* Only with the library's feature "deliberate-panic": a login of the user of that name panics. */
#include "harness.h"

#include <string.h>

static void a_panic_is_an_error_verdict_and_one_line_without_data(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_login panics = login_of(&settings, "deliberate-panic", PIN "755224");
    otpgate_login login = login_of(&settings, "alice", code[0]);
    int request, round;
    write_users("HOTP alice - " KEY "\n");
    panics.request = &request;
    for (round = 0; round < 3; round++) {
        otpgate_answer answer;
        line_count = 0;
        answer = answer_to(gate, &panics);
        EXPECT_NUMBER(answer.verdict, OTPGATE_ERROR);
        EXPECT_TEXT(answer.result, "error");
        EXPECT_NUMBER(answer.upstream_len, 0);
        EXPECT_NUMBER(line_count, 1);
        EXPECT_NUMBER(lines[0].level, OTPGATE_LOG_ERROR);
        EXPECT(lines[0].request == &request);
        EXPECT(strstr(lines[0].text, "deliberate-panic") == NULL);
        /* The gate is as good as before. */
        login.password = str(code[round]);
        EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    }
    otpgate_gate_free(gate);
}

#define CASE(name) {#name, name}
const struct test_case panic_cases[] = {
    CASE(a_panic_is_an_error_verdict_and_one_line_without_data),
    {NULL, NULL},
};
