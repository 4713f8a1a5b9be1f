/* What the cases need: a users file, a gate to it, and a log that is looked at. Each case runs in a process and
 * an empty directory of its own. */
#ifndef HARNESS_H
#define HARNESS_H

#include "otpgate.h"

#define EXPECT(condition)                                                                                             \
    do {                                                                                                              \
        if (!(condition))                                                                                             \
            fail(__FILE__, __LINE__, #condition);                                                                     \
    } while (0)
#define EXPECT_NUMBER(got, wanted) expect_number(__FILE__, __LINE__, #got, (long long)(got), (long long)(wanted))
#define EXPECT_TEXT(got, wanted) expect_text(__FILE__, __LINE__, #got, (got), (wanted))

void fail(const char *file, int line, const char *what);
void expect_number(const char *file, int line, const char *what, long long got, long long wanted);
void expect_text(const char *file, int line, const char *what, const char *got, const char *wanted);

struct test_case {
    const char *name;
    void (*run)(void);
};
extern const struct test_case gate_cases[], settings_cases[], login_cases[], digest_cases[], process_cases[], panic_cases[];

/* The key and the codes of RFC 4226 appendix D. */
#define KEY "3132333435363738393031323334353637383930"
extern const char *const code[10];
#define PIN "Sesam-Open"

otpgate_str str(const char *text);

/* Writes the users file, "users" in the case's directory. */
void write_users(const char *text);
/* A field of the user's line in it, counted from 1; "" if it isn't there. */
const char *field(const char *user, int number);

/* What the gates log. A line that isn't printable ASCII, or holds PIN or key, fails the case at once. */
struct line {
    int level;
    void *request;
    char text[2048];
};
extern struct line lines[64];
extern size_t line_count;
void log_line(void *request, int level, otpgate_str message);

/* A host as a server lends it: the log above, no PIN check, relative names start in the case's directory. */
otpgate_host host(int server);
otpgate_gate *new_gate(int server);

/* Nothing in it is ever freed. */
extern const otpgate_pool pool;
/* One directive with up to eight words, the last one NULL; fails the case if it is refused. */
void set(otpgate_settings *settings, int server, const char *name, ...);
/* Settings that name the users file, and those under which a code is good for one login only. */
otpgate_settings apache_settings(void);
otpgate_settings strict_settings(void);

otpgate_address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
/* A Basic login from 192.0.2.7 that remembers nothing and has no request. */
otpgate_login login_of(const otpgate_settings *settings, const char *user, const char *password);
/* An answer full of rubbish, and the check that a call has filled every field of it consistently. */
otpgate_answer rubbish(void);
void expect_filled(const otpgate_answer *answer, int verdict);
/* Logs in, with that check. */
otpgate_answer answer_to(otpgate_gate *gate, const otpgate_login *login);
/* The same, and gives the result word. */
const char *log_in(otpgate_gate *gate, const otpgate_login *login);

#endif
