/* Many at once: threads, and children made by fork after the gate. */
#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8 };

struct attempt {
    otpgate_gate *gate;
    otpgate_login login;
    const char *result;
};

static pthread_barrier_t start;

static void *attempt_login(void *argument)
{
    struct attempt *attempt = argument;
    pthread_barrier_wait(&start);
    attempt->result = log_in(attempt->gate, &attempt->login);
    return NULL;
}

static void all_at_once(struct attempt *attempts)
{
    pthread_t threads[THREADS];
    int i;
    EXPECT(pthread_barrier_init(&start, NULL, THREADS) == 0);
    for (i = 0; i < THREADS; i++)
        EXPECT(pthread_create(&threads[i], NULL, attempt_login, &attempts[i]) == 0);
    for (i = 0; i < THREADS; i++)
        EXPECT(pthread_join(threads[i], NULL) == 0);
    pthread_barrier_destroy(&start);
}

static int count_of(const struct attempt *attempts, const char *result)
{
    int i, count = 0;
    for (i = 0; i < THREADS; i++)
        count += strcmp(attempts[i].result, result) == 0;
    return count;
}

static void same_password_in_all_threads(otpgate_gate *gate, struct attempt *attempts, const otpgate_settings *settings,
                                         const char *password)
{
    int i;
    for (i = 0; i < THREADS; i++) {
        attempts[i].gate = gate;
        attempts[i].login = login_of(settings, "alice", password);
    }
    all_at_once(attempts);
}

static void of_threads_with_the_same_code_exactly_one_is_granted(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    struct attempt attempts[THREADS];
    int round;
    write_users("HOTP alice - " KEY "\n");
    for (round = 0; round < 5; round++) {
        char counter[8];
        line_count = 0;
        same_password_in_all_threads(gate, attempts, &settings, code[round]);
        EXPECT_NUMBER(count_of(attempts, "granted-fresh"), 1);
        EXPECT_NUMBER(count_of(attempts, "denied-expired"), THREADS - 1);
        EXPECT_NUMBER(line_count, THREADS);
        snprintf(counter, sizeof counter, "%d", round + 1);
        EXPECT_TEXT(field("alice", 5), counter);
        EXPECT_TEXT(field("alice", 6), "0");
    }
    otpgate_gate_free(gate);
}

static void of_threads_with_a_lingering_code_one_is_fresh_and_the_others_reuse_it(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    struct attempt attempts[THREADS];
    write_users("HOTP alice - " KEY "\n");
    same_password_in_all_threads(gate, attempts, &settings, code[0]);
    EXPECT_NUMBER(count_of(attempts, "granted-fresh"), 1);
    EXPECT_NUMBER(count_of(attempts, "granted-reuse"), THREADS - 1);
    otpgate_gate_free(gate);
}

static void of_threads_with_wrong_codes_exactly_the_limit_is_tried(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = apache_settings();
    struct attempt attempts[THREADS];
    write_users("HOTP alice - " KEY "\n");
    set(&settings, OTPGATE_APACHE, "OTPAuthMaxOTPFailure", "5", NULL);
    same_password_in_all_threads(gate, attempts, &settings, "000000");
    EXPECT_NUMBER(count_of(attempts, "denied-code"), 5);
    EXPECT_NUMBER(count_of(attempts, "denied-locked"), THREADS - 5);
    EXPECT_TEXT(field("alice", 6), "5");
    otpgate_gate_free(gate);
}

static void threads_of_different_users_are_all_granted(void)
{
    static const char *const users[THREADS] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    struct attempt attempts[THREADS];
    int i;
    write_users("HOTP a - " KEY "\nHOTP b - " KEY "\nHOTP c - " KEY "\nHOTP d - " KEY "\n"
                "HOTP e - " KEY "\nHOTP f - " KEY "\nHOTP g - " KEY "\nHOTP h - " KEY "\n");
    for (i = 0; i < THREADS; i++) {
        attempts[i].gate = gate;
        attempts[i].login = login_of(&settings, users[i], code[0]);
    }
    all_at_once(attempts);
    EXPECT_NUMBER(count_of(attempts, "granted-fresh"), THREADS);
    for (i = 0; i < THREADS; i++)
        EXPECT_TEXT(field(users[i], 5), "1");
    otpgate_gate_free(gate);
}

/* Runs a login in a child. The child ends with 0 if the result is the one wanted. */
static pid_t child_login(otpgate_gate *gate, const otpgate_login *login, const char *wanted)
{
    pid_t child = fork();
    EXPECT(child >= 0);
    if (child == 0) {
        EXPECT_TEXT(log_in(gate, login), wanted);
        _exit(0);
    }
    return child;
}

static int exit_code(pid_t child)
{
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_gate_made_before_fork_works_in_the_child(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    write_users("HOTP alice - " KEY "\n");
    EXPECT_NUMBER(exit_code(child_login(gate, &login, "granted-fresh")), 0);
    /* What a child has spent is spent in the parent and in other children. */
    EXPECT_TEXT(log_in(gate, &login), "denied-expired");
    EXPECT_NUMBER(exit_code(child_login(gate, &login, "denied-expired")), 0);
    otpgate_gate_free(gate);
}

static void a_gate_used_before_fork_works_on_both_sides(void)
{
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    int i;
    write_users("HOTP alice - " KEY "\n");
    EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    for (i = 1; i < 9; i += 2) {
        login.password = str(code[i]);
        EXPECT_NUMBER(exit_code(child_login(gate, &login, "granted-fresh")), 0);
        EXPECT_TEXT(log_in(gate, &login), "denied-expired");
        login.password = str(code[i + 1]);
        EXPECT_TEXT(log_in(gate, &login), "granted-fresh");
    }
    EXPECT_TEXT(field("alice", 5), "9");
    otpgate_gate_free(gate);
}

static void of_children_with_the_same_code_exactly_one_is_granted(void)
{
    enum { CHILDREN = 4 };
    otpgate_gate *gate = new_gate(OTPGATE_APACHE);
    otpgate_settings settings = strict_settings();
    otpgate_login login = login_of(&settings, "alice", code[0]);
    pid_t children[CHILDREN];
    int go[2], i, granted = 0;
    char byte;
    write_users("HOTP alice - " KEY "\n");
    EXPECT(pipe(go) == 0);
    for (i = 0; i < CHILDREN; i++) {
        children[i] = fork();
        EXPECT(children[i] >= 0);
        if (children[i] == 0) {
            close(go[1]);
            /* The end of the pipe comes to all of them at once. */
            EXPECT(read(go[0], &byte, 1) == 0);
            _exit(strcmp(log_in(gate, &login), "granted-fresh") == 0 ? 10 : 11);
        }
    }
    close(go[1]);
    for (i = 0; i < CHILDREN; i++) {
        int code_of_child = exit_code(children[i]);
        EXPECT(code_of_child == 10 || code_of_child == 11);
        granted += code_of_child == 10;
    }
    EXPECT_NUMBER(granted, 1);
    EXPECT_TEXT(field("alice", 5), "1");
    otpgate_gate_free(gate);
}

#define CASE(name) {#name, name}
const struct test_case process_cases[] = {
    CASE(of_threads_with_the_same_code_exactly_one_is_granted),
    CASE(of_threads_with_a_lingering_code_one_is_fresh_and_the_others_reuse_it),
    CASE(of_threads_with_wrong_codes_exactly_the_limit_is_tried),
    CASE(threads_of_different_users_are_all_granted),
    CASE(a_gate_made_before_fork_works_in_the_child),
    CASE(a_gate_used_before_fork_works_on_both_sides),
    CASE(of_children_with_the_same_code_exactly_one_is_granted),
    {NULL, NULL},
};
