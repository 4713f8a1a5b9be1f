/*
 * A web server with a login by otpgate, as short as it can be: what every server module has to do, with nothing
 * around it. It listens on 127.0.0.1, answers one request at a time, and shows one page to those who are let in.
 *
 *   make rust
 *   cc -Iinclude -o build/module examples/module.c target/server/libotpgate.a $(make --silent rust-libs)
 *   build/module /var/lib/otpgate/users 8080
 */
#define _POSIX_C_SOURCE 200809L

#include "otpgate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static otpgate_gate *gate;
static otpgate_settings settings;

static otpgate_str str(const char *text)
{
    otpgate_str bytes = {strlen(text), (const unsigned char *)text};
    return bytes;
}

/* The library writes no log of its own. A server would take the request from `request`, and keep lines apart that are
 * above its level. */
static void log_line(void *request, int level, otpgate_str message)
{
    (void)request;
    fprintf(stderr, "<%d> %.*s\n", level, (int)message.len, (const char *)message.data);
}

/* The settings live as long as the program. A server would take this from the pool of its configuration. */
static void *allocate(void *pool, size_t size)
{
    (void)pool;
    return malloc(size);
}

/* One directive of a configuration file. */
static void set(const char *name, const otpgate_str *words, size_t count)
{
    const otpgate_pool pool = {allocate, NULL};
    char error[256];
    if (otpgate_settings_set(gate, &settings, &pool, OTPGATE_NGINX, str(name), words, count, str("command line"),
                             error, sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        exit(2);
    }
}

static uint64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- HTTP ---------------------------------------------------------------------------------------------------- */

/* The value of a header, from the request's lines; NULL if it isn't there. */
static char *header(char *lines, const char *name)
{
    size_t len = strlen(name);
    char *line, *end, *value;
    for (line = strstr(lines, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) != 0 || line[len] != ':')
            continue;
        value = line + len + 1 + strspn(line + len + 1, " \t");
        end = strstr(value, "\r\n");
        if (end != NULL)
            *end = '\0';
        return value;
    }
    return NULL;
}

/* Decodes in place. The number of bytes, or -1 if it is no base64. */
static int decode(char *text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned long bits = 0;
    int count = 0, len = 0;
    char *from;
    for (from = text; *from != '\0' && *from != '='; from++) {
        const char *found = strchr(alphabet, *from);
        if (found == NULL)
            return -1;
        bits = (bits << 6 | (unsigned long)(found - alphabet)) & 0xffffff;
        if (++count % 4 != 1)
            text[len++] = (char)(bits >> (6 - 2 * ((count - 1) % 4)));
    }
    return len;
}

static void answer(int client, const char *status, const char *headers, const char *body)
{
    char text[4096];
    int len = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n%s", status,
                       strlen(body), headers, body);
    /* A client that has gone away misses nothing. */
    if (len > 0 && (size_t)len < sizeof text && write(client, text, (size_t)len) < 0)
        return;
}

/* ---- The login ----------------------------------------------------------------------------------------------- */

/* Answers with 401 and asks for credentials. */
static void ask(int client, int stale)
{
    otpgate_str challenges[OTPGATE_CHALLENGES_MAX];
    char buffer[OTPGATE_CHALLENGES_SIZE], headers[OTPGATE_CHALLENGES_SIZE + 64] = "";
    size_t i, len = 0, count;
    count = otpgate_challenges(gate, &settings, str("One-time password"), NULL, stale, &challenges, buffer,
                               sizeof buffer, NULL);
    for (i = 0; i < count; i++)
        len += (size_t)snprintf(headers + len, sizeof headers - len, "WWW-Authenticate: %.*s\r\n",
                                (int)challenges[i].len, (const char *)challenges[i].data);
    answer(client, count > 0 ? "401 Unauthorized" : "500 Internal Server Error", headers, "Log in.\n");
}

static void serve(int client, const struct in_addr *address, char *lines)
{
    uint64_t begun = milliseconds(), rest;
    char retry[64], *colon, *credentials = header(lines, "Authorization");
    otpgate_memory memory;
    otpgate_login login;
    otpgate_answer decided;
    int len;

    if (credentials == NULL || otpgate_scheme(&settings, str(credentials)) != OTPGATE_BASIC) {
        /* Not a word about what isn't there; but another scheme is worth a line in the log. */
        if (credentials != NULL)
            otpgate_unfit(gate, &settings, str(credentials), NULL);
        ask(client, 0);
        return;
    }
    credentials += strcspn(credentials, " ");
    credentials += strspn(credentials, " ");
    len = decode(credentials);
    colon = len < 0 ? NULL : memchr(credentials, ':', (size_t)len);
    if (colon == NULL) {
        ask(client, 0);
        return;
    }

    /* One per HTTP request: where a request is asked about again, no second code is spent. */
    memset(&memory, 0, sizeof memory);
    memset(&login, 0, sizeof login);
    login.settings = &settings;
    login.scheme = OTPGATE_BASIC;
    login.user.data = (const unsigned char *)credentials;
    login.user.len = (size_t)(colon - credentials);
    login.password.data = (const unsigned char *)colon + 1;
    login.password.len = (size_t)len - login.user.len - 1;
    login.address.len = sizeof *address;
    memcpy(login.address.bytes, address, sizeof *address);
    login.memory = &memory;
    otpgate_decide(gate, &login, &decided);
    if (decided.verdict == OTPGATE_GRANTED) {
        answer(client, "200 OK", "", "Come in.\n");
        return;
    }

    /* The time that a refusal takes tells nothing. A server would answer others meanwhile. */
    rest = otpgate_refusal_rest(otpgate_settings_refusal_time(&settings), milliseconds() - begun);
    if (rest > 0) {
        struct timespec pause = {(time_t)(rest / 1000), (long)(rest % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
    snprintf(retry, sizeof retry, "Retry-After: %lu\r\n", (unsigned long)decided.retry_after);
    switch (decided.verdict) {
    case OTPGATE_ERROR:
        answer(client, "500 Internal Server Error", "", "The log says why.\n");
        break;
    case OTPGATE_THROTTLED:
        answer(client, "429 Too Many Requests", retry, "Too many wrong ones lately.\n");
        break;
    case OTPGATE_BUSY:
        answer(client, "503 Service Unavailable", retry, "Too many wait.\n");
        break;
    default:
        /* A verdict that isn't known here is a refusal like any other. */
        ask(client, decided.stale);
    }
}

static void handle(int client, const struct sockaddr_in *from)
{
    char lines[16384], *end;
    size_t len = 0;
    ssize_t got;
    while (len < sizeof lines - 1 && (got = read(client, lines + len, sizeof lines - 1 - len)) > 0) {
        len += (size_t)got;
        lines[len] = '\0';
        /* A NUL would hide what is behind it from the functions for strings. */
        if (strlen(lines) != len)
            break;
        end = strstr(lines, "\r\n\r\n");
        if (end != NULL) {
            end[2] = '\0';
            serve(client, &from->sin_addr, lines);
            return;
        }
    }
    answer(client, "400 Bad Request", "", "");
}

int main(int argc, char **argv)
{
    struct timeval patience = {5, 0};
    struct sockaddr_in here, from;
    socklen_t len = sizeof here;
    otpgate_str users;
    otpgate_host host;
    int listener, client;

    if (argc != 3) {
        fprintf(stderr, "usage: %s USERS_FILE PORT\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);

    memset(&host, 0, sizeof host);
    host.api_version = OTPGATE_API_VERSION;
    /* Whose names and defaults the settings have. Those of nginx are the stricter ones. */
    host.server = OTPGATE_NGINX;
    host.root = str(".");
    host.log = log_line;
    gate = otpgate_gate_new(&host);
    if (gate == NULL) {
        fprintf(stderr, "the library is of another version: %s\n", otpgate_version());
        return 1;
    }
    users = str(argv[1]);
    set("auth_otp_users_file", &users, 1);

    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    here.sin_port = htons((uint16_t)atoi(argv[2]));
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&here, &len) != 0) {
        perror("listen");
        return 1;
    }
    /* With port 0 the system chooses one. */
    printf("http://127.0.0.1:%d/\n", ntohs(here.sin_port));
    fflush(stdout);

    for (;;) {
        len = sizeof from;
        client = accept(listener, (struct sockaddr *)&from, &len);
        if (client < 0)
            continue;
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        handle(client, &from);
        close(client);
    }
}
