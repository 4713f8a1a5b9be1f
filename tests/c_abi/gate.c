/* Making and ending gates. */
#include "harness.h"

#include <string.h>

static void the_version_is_the_packages(void)
{
    EXPECT_TEXT(otpgate_version(), PACKAGE_VERSION);
    EXPECT(otpgate_version() == otpgate_version());
}

static void a_gate_is_made_for_both_servers(void)
{
    otpgate_gate_free(new_gate(OTPGATE_APACHE));
    otpgate_gate_free(new_gate(OTPGATE_NGINX));
}

static void no_gate_without_a_known_version_server_and_log(void)
{
    otpgate_host lent = host(OTPGATE_APACHE);
    EXPECT(otpgate_gate_new(NULL) == NULL);
    lent.api_version = OTPGATE_API_VERSION + 1;
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent.api_version = 0;
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent.api_version = UINT32_MAX;
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent = host(OTPGATE_APACHE);
    lent.log = NULL;
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent = host(0);
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent = host(3);
    EXPECT(otpgate_gate_new(&lent) == NULL);
    lent = host(-1);
    EXPECT(otpgate_gate_new(&lent) == NULL);
}

static void ending_no_gate_is_allowed(void)
{
    otpgate_gate_free(NULL);
}

static void the_host_and_its_root_are_copied(void)
{
    char root[2] = ".";
    otpgate_host lent = host(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    otpgate_gate *gate;
    write_users("HOTP alice - " KEY "\n");
    lent.root = str(root);
    gate = otpgate_gate_new(&lent);
    EXPECT(gate != NULL);
    memset(root, 'x', sizeof root);
    memset(&lent, 0xff, sizeof lent);
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    EXPECT_NUMBER(line_count, 1);
    otpgate_gate_free(gate);
}

static void gates_to_one_file_know_of_each_others_logins(void)
{
    otpgate_settings settings = strict_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    otpgate_gate *one = new_gate(OTPGATE_APACHE), *other = new_gate(OTPGATE_APACHE);
    write_users("HOTP alice - " KEY "\n");
    EXPECT_TEXT(log_in(one, &login), "granted-fresh");
    EXPECT_TEXT(log_in(other, &login), "denied-expired");
    otpgate_gate_free(one);
    login.password = str(code[1]);
    EXPECT_TEXT(log_in(other, &login), "granted-fresh");
    otpgate_gate_free(other);
}

#define CASE(name) {#name, name}
const struct test_case gate_cases[] = {
    CASE(the_version_is_the_packages),
    CASE(a_gate_is_made_for_both_servers),
    CASE(no_gate_without_a_known_version_server_and_log),
    CASE(ending_no_gate_is_allowed),
    CASE(the_host_and_its_root_are_copied),
    CASE(gates_to_one_file_know_of_each_others_logins),
    {NULL, NULL},
};
