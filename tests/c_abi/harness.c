#include "harness.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const code[10] = {"755224", "287082", "359152", "969429", "338314",
                              "254676", "287922", "162583", "399871", "520489"};

void fail(const char *file, int line, const char *what)
{
    size_t i;
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    for (i = 0; i < line_count; i++)
        fprintf(stderr, "logged: %d %s\n", lines[i].level, lines[i].text);
    fflush(stderr);
    _Exit(1);
}

void expect_number(const char *file, int line, const char *what, long long got, long long wanted)
{
    char text[512];
    if (got == wanted)
        return;
    snprintf(text, sizeof text, "%s is %lld, not %lld", what, got, wanted);
    fail(file, line, text);
}

void expect_text(const char *file, int line, const char *what, const char *got, const char *wanted)
{
    char text[4096];
    if (got != NULL && strcmp(got, wanted) == 0)
        return;
    snprintf(text, sizeof text, "%s is \"%s\", not \"%s\"", what, got ? got : "(null)", wanted);
    fail(file, line, text);
}

otpgate_str str(const char *text)
{
    otpgate_str bytes;
    bytes.len = strlen(text);
    bytes.data = (const unsigned char *)text;
    return bytes;
}

void write_users(const char *text)
{
    FILE *file = fopen("users", "w");
    EXPECT(file != NULL);
    EXPECT(fputs(text, file) >= 0);
    EXPECT(fclose(file) == 0);
}

const char *field(const char *user, int number)
{
    static char line[4096];
    FILE *file = fopen("users", "r");
    EXPECT(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        char *words[16] = {NULL};
        int count = 0;
        char *word = strtok(line, " \t\r\v\n");
        for (; word != NULL && count < 16; word = strtok(NULL, " \t\r\v\n"))
            words[count++] = word;
        if (count < 2 || strcmp(words[1], user) != 0)
            continue;
        fclose(file);
        return number <= count ? words[number - 1] : "";
    }
    fclose(file);
    return "";
}

struct line lines[64];
size_t line_count;
static pthread_mutex_t lines_lock = PTHREAD_MUTEX_INITIALIZER;

void log_line(void *request, int level, otpgate_str message)
{
    struct line *line;
    size_t i;
    pthread_mutex_lock(&lines_lock);
    EXPECT(line_count < sizeof lines / sizeof *lines);
    line = &lines[line_count++];
    EXPECT(message.len > 0 && message.len < sizeof line->text);
    memcpy(line->text, message.data, message.len);
    line->text[message.len] = '\0';
    line->level = level;
    line->request = request;
    for (i = 0; i < message.len; i++)
        EXPECT(message.data[i] >= ' ' && message.data[i] <= '~');
    EXPECT(level >= OTPGATE_LOG_ERROR && level <= OTPGATE_LOG_DEBUG);
    EXPECT(strstr(line->text, PIN) == NULL);
    EXPECT(strstr(line->text, KEY) == NULL);
    for (i = 0; i < 10; i++)
        EXPECT(strstr(line->text, code[i]) == NULL);
    pthread_mutex_unlock(&lines_lock);
}

otpgate_host host(int server)
{
    otpgate_host host;
    memset(&host, 0, sizeof host);
    host.api_version = OTPGATE_API_VERSION;
    host.server = (uint32_t)server;
    host.root = str(".");
    host.log = log_line;
    return host;
}

otpgate_gate *new_gate(int server)
{
    otpgate_host lent = host(server);
    otpgate_gate *gate = otpgate_gate_new(&lent);
    EXPECT(gate != NULL);
    return gate;
}

static void *allocate(void *pool, size_t size)
{
    void *memory = malloc(size);
    EXPECT(pool == lines && size > 0 && memory != NULL);
    return memory;
}

const otpgate_pool pool = {allocate, lines};

void set(otpgate_settings *settings, int server, const char *name, ...)
{
    char error[512] = "";
    otpgate_str words[8];
    size_t count = 0;
    const char *word;
    va_list arguments;
    va_start(arguments, name);
    while ((word = va_arg(arguments, const char *)) != NULL)
        words[count++] = str(word);
    va_end(arguments);
    if (otpgate_settings_set(NULL, settings, &pool, server, str(name), words, count, str("case.conf:1"), error,
                             sizeof error) != 0)
        fail(__FILE__, __LINE__, error);
}

otpgate_settings apache_settings(void)
{
    otpgate_settings settings;
    memset(&settings, 0, sizeof settings);
    set(&settings, OTPGATE_APACHE, "OTPAuthUsersFile", "users", NULL);
    return settings;
}

otpgate_settings strict_settings(void)
{
    otpgate_settings settings = apache_settings();
    set(&settings, OTPGATE_APACHE, "OTPAuthMaxLinger", "0", NULL);
    return settings;
}

otpgate_address ipv4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    otpgate_address address = {4, {0}};
    address.bytes[0] = a;
    address.bytes[1] = b;
    address.bytes[2] = c;
    address.bytes[3] = d;
    return address;
}

otpgate_login login_of(const otpgate_settings *settings, const char *user, const char *password)
{
    otpgate_login login;
    memset(&login, 0, sizeof login);
    login.settings = settings;
    login.scheme = OTPGATE_BASIC;
    login.user = str(user);
    login.password = str(password);
    login.address = ipv4(192, 0, 2, 7);
    return login;
}

otpgate_answer rubbish(void)
{
    otpgate_answer answer;
    memset(&answer, 0xff, sizeof answer);
    answer.result = NULL;
    return answer;
}

void expect_filled(const otpgate_answer *answer, int verdict)
{
    static const char *const words[] = {"", "granted-fresh", "granted-reuse", "granted-app", "granted-trusted", "granted-computer", "denied-app", "denied-pin",   "denied-code", "denied-expired", "denied-user",
                                        "denied-ip",     "denied-locked", "forgotten",    "unknown",     "error"};
    size_t i;
    int is_word = 0;
    EXPECT_NUMBER(answer->verdict, verdict);
    EXPECT((verdict >= OTPGATE_GRANTED && verdict <= OTPGATE_ERROR) || verdict == OTPGATE_MATCHED);
    EXPECT(answer->result != NULL);
    for (i = 0; i < sizeof words / sizeof *words; i++)
        is_word |= strcmp(answer->result, words[i]) == 0;
    EXPECT(is_word);
    EXPECT((strncmp(answer->result, "granted-", 8) == 0) == (verdict == OTPGATE_GRANTED));
    EXPECT(verdict != OTPGATE_ERROR || strcmp(answer->result, "error") == 0);
    EXPECT(answer->stale == 0 || (answer->stale == 1 && answer->result[0] == '\0'));
    EXPECT(answer->result[0] != '\0' || verdict == OTPGATE_DENIED || verdict == OTPGATE_MATCHED);
    EXPECT(answer->result[0] == '\0' || verdict != OTPGATE_MATCHED);
    EXPECT((answer->user_len > 0) == (verdict == OTPGATE_GRANTED && strcmp(answer->result, "") != 0));
    EXPECT(answer->user_len <= OTPGATE_USER_MAX);
    EXPECT(answer->upstream_len <= OTPGATE_UPSTREAM_MAX);
    EXPECT(answer->upstream_len == 0 || verdict == OTPGATE_GRANTED);
}

otpgate_answer answer_to(otpgate_gate *gate, const otpgate_login *login)
{
    otpgate_answer answer = rubbish();
    expect_filled(&answer, otpgate_decide(gate, login, &answer));
    return answer;
}

const char *log_in(otpgate_gate *gate, const otpgate_login *login)
{
    return answer_to(gate, login).result;
}
