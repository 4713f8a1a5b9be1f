/*
 * otpgate.h - one-time-password login for web servers: the C contract.
 *
 * How a server module uses it:
 *   1. once per configuration:  otpgate_gate_new()
 *   2. per directive:           otpgate_settings_set(), per section: otpgate_settings_merge()
 *   3. in a configuration test: otpgate_places_check()
 *   4. per request:             otpgate_decide(); on an event loop otpgate_decide_now() first. Digest needs a zone of
 *                               shared memory, initialised by otpgate_zone_init(); if the server manages nonces itself,
 *                               otpgate_digest_match() and then otpgate_digest_spend()
 *   5. for a 401:               otpgate_challenges(), unless the server sends its own challenges
 *
 * Rules for every function here:
 *   - It may be called from any thread, and in a child after fork(), unless its comment says otherwise.
 *   - No call unwinds or aborts into the caller. A fault inside the library is reported as an error
 *     verdict (or a documented failure value) and one log line without request data.
 *   - A value that this header doesn't name, in either direction, means deny.
 *   - Bytes are passed with their length. A `data` pointer may be NULL only if `len` is 0.
 *   - No pointer is kept after the call, unless a comment says so.
 *   - No message passed to `log` contains a PIN, code, key or password.
 */
#ifndef OTPGATE_H
#define OTPGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever a struct or a meaning below changes. otpgate_gate_new() refuses any other number. */
#define OTPGATE_API_VERSION 6

/* Bytes with a length; same layout as nginx's ngx_str_t. Not terminated by NUL. */
typedef struct otpgate_str {
    size_t len;
    const unsigned char *data;
} otpgate_str;

/* The server: selects names and defaults of the settings. */
#define OTPGATE_APACHE 1
#define OTPGATE_NGINX 2

/* Verdicts. Treat every other number as OTPGATE_DENIED. */
#define OTPGATE_GRANTED 1 /* let the request in */
#define OTPGATE_DENIED 2  /* ask for credentials again (401); never pass on to another provider */
#define OTPGATE_UNKNOWN 3 /* not our user: another provider may decide; without one, 401 */
#define OTPGATE_ERROR 4   /* could not decide: 500; the log says why */
#define OTPGATE_WOULD_BLOCK 5 /* from otpgate_decide_now() only: call otpgate_decide() where it may block */

#define OTPGATE_THROTTLED 6 /* too many recent wrong tries: 429, with Retry-After from the answer */
#define OTPGATE_BUSY 7      /* too many are waiting: 503, with Retry-After from the answer */
#define OTPGATE_MATCHED 8   /* from otpgate_digest_match() only: nothing is granted yet */

/* Answers of an external PIN provider. Any other number means OTPGATE_PIN_ERROR. */
#define OTPGATE_PIN_RIGHT 1
#define OTPGATE_PIN_WRONG 2
#define OTPGATE_PIN_UNKNOWN 3 /* no provider knows the user */
#define OTPGATE_PIN_ERROR 4

/* How credentials authenticate. */
#define OTPGATE_BASIC 1  /* RFC 7617 */
#define OTPGATE_DIGEST 2 /* RFC 7616 */
#define OTPGATE_COOKIE 3 /* by a cookie of ours alone */

/* Log levels, numbered as in syslog(3). */
#define OTPGATE_LOG_ERROR 3
#define OTPGATE_LOG_WARNING 4
#define OTPGATE_LOG_NOTICE 5
#define OTPGATE_LOG_INFO 6
#define OTPGATE_LOG_DEBUG 7

/*
 * What the server lends the library; copied by otpgate_gate_new().
 *
 * `request` is the pointer from the call that caused the callback (otpgate_login.request, or the `sink`
 * of otpgate_places_check()); the library only passes it through.
 */
typedef struct otpgate_host {
    uint32_t api_version; /* OTPGATE_API_VERSION */
    uint32_t server;      /* OTPGATE_APACHE or OTPGATE_NGINX */

    /* Base directory for relative file names in settings. Copied. */
    otpgate_str root;

    /* Writes one line to the server's log. `message` is printable ASCII without a line end; for OTPGATE_APACHE it also
     * has the bytes that httpd itself shows as \xHH. Pass it as an argument, never as a format. `level` is the server's
     * own for such lines. Called from the thread of the causing call. */
    void (*log)(void *request, int level, otpgate_str message);

    /* Asks the section's PIN providers, in order, about a PIN marked `+`. Called from the thread of the
     * causing otpgate_decide(), with no lock held. Its answers are not cached. Not called if a setting names a PIN
     * file, which the library reads itself. May be NULL: without such a file, such PINs are then refused with a log
     * line. */
    int (*check_pin)(void *request, otpgate_str user, otpgate_str pin);

    /* Keep all other threads and processes out of a zone, for a few microseconds. `mutex` is the zone's.
     * If a holder dies, the lock must become free again. May be NULL if no zone is used. */
    void (*lock_zone)(void *mutex);
    void (*unlock_zone)(void *mutex);
} otpgate_host;

/* Memory shared by all processes of a server, for Digest nonces. About 40 bytes per nonce in use. */
typedef struct otpgate_zone {
    void *memory; /* aligned for uint64_t */
    size_t size;  /* in bytes */
    void *mutex;  /* passed to lock_zone and unlock_zone */
} otpgate_zone;

/* One configuration's state: open users files, indexes, caches. Passing NULL gives an error verdict. */
typedef struct otpgate_gate otpgate_gate;

/*
 * Memory of the server's that lives as long as the settings, from which the library takes what doesn't fit into them.
 * Read during the call only.
 */
typedef struct otpgate_pool {
    /* Returns `size` bytes, more than 0, aligned for uint64_t; NULL: there are none, and the directive is refused. Called
     * from the thread of the causing call. */
    void *(*allocate)(void *pool, size_t size);
    void *pool; /* passed to allocate */
} otpgate_pool;

/*
 * Settings of one section, filled by otpgate_settings_set(). Plain memory: all zero means "nothing set";
 * it may be copied by assignment and needs no release. Settings, their copies, and what is merged of them refer to what
 * the directives took from their pools, and to nothing else: those pools must live as long as any of them.
 * The content is private to the library. Any number of threads may read it at a time.
 */
#define OTPGATE_SETTINGS_WORDS 144
typedef struct otpgate_settings {
    uint64_t opaque[OTPGATE_SETTINGS_WORDS];
} otpgate_settings;

/*
 * What was decided about one HTTP request, so that sub-requests and internal redirects spend no second code.
 * Places whose settings decide logins alike reuse the decision, unless it is for a path (otpgate_answer.is_for_path).
 * Elsewhere a grant is decided again by that place's
 * settings, on the record of the first decision, and later changes to the user count. PINs that check_pin checks
 * are asked about again each time. Plain memory, zeroed by the server when the request begins, one per client
 * request: all its sub-requests and redirects share it, or have copies. No two threads may pass the same one at the
 * same time. Its content is as sensitive as the code, and for Digest as the password.
 */
#define OTPGATE_MEMORY_WORDS 104
typedef struct otpgate_memory {
    uint64_t opaque[OTPGATE_MEMORY_WORDS];
} otpgate_memory;

/* A client's IP address as the server sees it, in network order. */
typedef struct otpgate_address {
    uint8_t len; /* 4 or 16; 0: the client has none (a unix socket). Any other number counts as 0 */
    uint8_t bytes[16];
} otpgate_address;

/*
 * One login attempt. Zero it, then set what applies: with `scheme` OTPGATE_BASIC user and password; with OTPGATE_DIGEST
 * `authorization` and the fields below it.
 */
typedef struct otpgate_login {
    const otpgate_settings *settings; /* the merged settings of the requested place */
    int scheme;    /* OTPGATE_BASIC or OTPGATE_DIGEST, read only by otpgate_decide() and otpgate_decide_now() */
    int log_level; /* the highest level that is logged for this request; 0: unknown */
    int has_tls;   /* 1: the request came over TLS. If a setting requires TLS, others are denied */
    /* 1: a sub-request that the server runs without asking for a login. It is granted only if `memory` holds a
     * grant of its main request for the same users file, user, address and credentials, and that grant also holds
     * by the settings of this place; else it is denied. Nothing is decided afresh. */
    int is_part;
    int is_for_pin; /* 1: made while check_pin of the same request is running: an error. `memory` is left alone */
    otpgate_address address;
    /* Digest: the header's whole value. Basic: the header that user and password were taken from, if the server keeps
     * them as C strings: those end at a NUL inside the header, and such a login is denied. Empty: not checked. */
    otpgate_str authorization;
    otpgate_str user;     /* as the server read it from the header; for Digest, otpgate_decide() reads it itself */
    otpgate_str password; /* PIN and code as the client sent them */
    otpgate_str realm;    /* as the server sees it */
    otpgate_str method;   /* as the server sees it; otpgate_decide() also accepts a whole request line */
    otpgate_str target;   /* for otpgate_decide(): the request target as in the request line */
    /* What Basic credentials are for. Needed only where otpgate_wants_target() says so; if it is missing there, a
     * password that is good for some paths or methods lets nobody in. */
    otpgate_str request_line; /* the client's own; empty in a request to a forward proxy */
    otpgate_str host;         /* the Host header, or what stands for it */
    otpgate_str destination;  /* the Destination header; several are joined by ", ". Empty: none */
    otpgate_str path;         /* decoded, as the server serves it: of the sub-request or redirect, or after rewrites */
    /* What a browser says. Needed, with `realm`, `host`, `method` and `target`, by otpgate_page(), and where otpgate_settings_wants_cookie()
     * says so, by otpgate_decide(), otpgate_decide_now() and otpgate_admit() with Basic and OTPGATE_COOKIE. Headers that aren't there are
     * empty. */
    otpgate_str cookie;          /* Cookie; several are joined by "; " */
    otpgate_str accept;          /* Accept */
    otpgate_str accept_language; /* Accept-Language */
    otpgate_str content_type;    /* Content-Type */
    otpgate_str origin;          /* Origin */
    otpgate_str fetch_site;      /* Sec-Fetch-Site */
    otpgate_str fetch_mode;      /* Sec-Fetch-Mode */
    otpgate_str body;            /* only for otpgate_page(): the request's body, of at most OTPGATE_BODY_MAX bytes */
    const otpgate_zone *zone; /* for otpgate_decide() with Digest: initialised by otpgate_zone_init() */
    otpgate_memory *memory;   /* NULL: decide afresh */
    /* For otpgate_decide() with Basic: a number that the server keeps per connection, initially 0, for
     * otpgate_was_granted(). It has no other meaning. NULL: not kept. */
    uint64_t *connection;
    /* For otpgate_decide_now(): the turn of the event loop, a number above 0 that is unique in this process.
     * Requests of one turn share one check whether the users file has changed. 0: check each time. */
    uint64_t turn;
    void *request; /* passed to the callbacks */
} otpgate_login;

/* Hexadecimal characters of MD5(user:realm:password), without a NUL. */
#define OTPGATE_HA1_LEN 32

/* What is to be sent to a browser: made by the library, released by otpgate_response_free(). */
typedef struct otpgate_response otpgate_response;

/* Bytes of the longest body that otpgate_page() takes; a longer one is refused with 413. */
#define OTPGATE_BODY_MAX 4096

/* Bytes of the longest name that a users file can hold. */
#define OTPGATE_USER_MAX 255

/* Enough for any header that otpgate_answer.upstream can hold. */
#define OTPGATE_UPSTREAM_MAX 2048

/* The answer; owned and provided by the caller. */
typedef struct otpgate_answer {
    int32_t verdict; /* one of the verdicts above */

    /* 1: the only known fault is a Digest nonce that can't be used any more: pass it on to otpgate_challenges().
     * Else 0. */
    int32_t stale;

    /* 1: a grant for this path and method only, by the password of a program. Parts of the request that the server
     * doesn't ask about anew (sub-requests and internal redirects that lead to a place which asks for a login) are to
     * be passed to otpgate_decide() as well, each with its own `path`, and refused unless granted. Else 0. */
    int32_t is_for_path;

    /* With OTPGATE_THROTTLED and OTPGATE_BUSY: seconds until the next try, at least 1. Else 0. */
    uint32_t retry_after;

    /* NULL, or what is to be sent to the browser; it is the caller's, who releases it. If its status is 0, its headers are added to
     * whatever is answered, whatever the status of that. Else it is the answer, in place of challenges; that never happens with
     * OTPGATE_GRANTED, except from otpgate_page(). */
    otpgate_response *response;

    /* The result word. Logs may always show it; set it in the request's environment on grants only. Static,
     * NUL-terminated, never NULL; one of
     * granted-fresh granted-reuse granted-app granted-trusted granted-computer granted-session denied-pin denied-user denied-code denied-expired denied-ip
     * denied-locked denied-app denied-session denied-throttled denied-busy forgotten unknown error; or empty: nothing was decided, the client needs another
     * Digest nonce, or it is OTPGATE_MATCHED. */
    const char *result;

    /* On a grant: the user who was let in. Else 0. */
    size_t user_len;
    char user[OTPGATE_USER_MAX];

    /* With PINFakeBasicAuth and a grant: the Authorization header for the backend. Else 0. */
    size_t upstream_len;
    char upstream[OTPGATE_UPSTREAM_MAX];
} otpgate_answer;

/* The user whose file access otpgate_places_check() tests. */
typedef struct otpgate_identity {
    uint32_t uid;
    uint32_t gid;
} otpgate_identity;

/*
 * One place for the configuration test. nginx: each place where logins are asked for, and each page to log in; Apache: each section in which
 * otpgate_settings_set() was called, merged or not. Strings that don't apply are empty.
 */
typedef struct otpgate_place {
    const otpgate_settings *settings; /* nginx: merged; Apache: the section's own */
    otpgate_str place;       /* nginx: of auth_otp; as in otpgate_settings_set() */
    otpgate_str realm;       /* nginx: as written there, variables included */
    otpgate_str other_realm; /* nginx: the same for auth_basic in that place */
    /* Apache: the directives that open the enclosing blocks, outermost first, each as "file:line <Location /private>"
     * followed by a line end. */
    otpgate_str section;
    int is_on_unix_socket;   /* nginx: 1 if its server listens on one, else 0 */
    int is_any_enough;       /* nginx: 1 if any one access check is enough (satisfy any), else 0 */
    int is_login_page;       /* nginx: 1 if it is the page to log in itself, else 0; `place` is then that of auth_otp_login */
    int has_login_page;      /* nginx: 1 if its server may have the page to log in at the path that is set, else 0 */
} otpgate_place;

/* The address that a text names, for servers that keep it so: IPv4, or IPv6, whose name of an interface ("fe80::1%eth0")
 * doesn't count. Of any other text: none. */
otpgate_address otpgate_address_of(otpgate_str text);

/* "major.minor.patch" of the library; static, NUL-terminated. */
const char *otpgate_version(void);

/* Creates a gate. NULL if host->api_version is unknown or host->log is NULL. */
otpgate_gate *otpgate_gate_new(const otpgate_host *host);

/* Frees a gate. NULL is allowed. No other call may be using it; don't call it in a signal handler. */
void otpgate_gate_free(otpgate_gate *gate);

/* The most settings a server has. */
#define OTPGATE_SETTINGS_MAX 40

/* Name and usage text of each setting of a server, for index 0, 1, …; static, NUL-terminated. NULL past the last. */
const char *otpgate_setting_name(int server, size_t index);
const char *otpgate_setting_usage(int server, size_t index);

/* Whether a setting may be said by authors of pages (.htaccess): 1 if it may, else 0. */
int otpgate_setting_is_for_authors(int server, size_t index);

/*
 * Takes one directive. On Apache also the server's own AuthType, AuthBasicProvider, AuthDigestProvider, AuthFormProvider and
 * AuthBasicUseDigestAlgorithm, which otpgate_places_check() and otpgate_admit() use. `name` as in the server's
 * configuration, `args` its words, `place` what messages call this spot ("file:line"). `pool`: what is kept of them is
 * copied there.
 * `gate`: the gate the settings belong to, so that logins find their users file without resolving its path. NULL for
 * settings of a single request (.htaccess), which may name any number of files.
 * Returns 0 on success. Else the value is refused and `error` holds the reason, NUL-terminated, truncated to error_size.
 */
int otpgate_settings_set(const otpgate_gate *gate, otpgate_settings *settings, const otpgate_pool *pool, int server,
                         otpgate_str name, const otpgate_str *args, size_t nargs, otpgate_str place, char *error,
                         size_t error_size);

/* Parses nginx's auth_otp_zone, "name:size": the word begins with `name_len` bytes of name, and asks for `size` bytes. `page`:
 * bytes of a memory page. 0: done. Else `error` says why it is refused. */
int otpgate_zone_of_directive(otpgate_str word, size_t page, size_t *name_len, size_t *size, char *error,
                              size_t error_size);

/* What a realm means: in a directive, and in a request, with its variables expanded. */
#define OTPGATE_REALM_OFF 0 /* no login is asked for */
#define OTPGATE_REALM_ON 1
#define OTPGATE_REALM_BAD -1 /* the directive is refused, `error` says why; the request gets 500, the log says why */
int otpgate_realm_of_directive(otpgate_str word, char *error, size_t error_size);
int otpgate_realm_of_request(const otpgate_gate *gate, otpgate_str realm, void *request);

/* out = base overridden by child, setting by setting, by the rules of that server; who is required to log in (users and
 * groups) is one setting. out may be base or child; it is written whatever it held, and in it nothing is set after a fault
 * inside the library. */
void otpgate_settings_merge(otpgate_settings *out, int server, const otpgate_settings *base,
                            const otpgate_settings *child);

/* 1 if anything is set, else 0. On Apache, which merges for each request, merging with settings in which nothing is set
 * gives the other ones: those can be used as they are. */
int otpgate_settings_is_set(const otpgate_settings *settings);

/* 1 if requests without TLS must be answered 403 before credentials are looked at, else 0. */
int otpgate_settings_require_tls(const otpgate_settings *settings);

/* 1 if Basic credentials are looked at here, else 0. */
int otpgate_settings_has_basic(const otpgate_settings *settings);

/* 1 if Digest credentials are looked at here, so that a zone is needed, else 0. On Apache, which handles the scheme itself,
 * there is no such setting. */
int otpgate_settings_has_digest(const otpgate_settings *settings);

/* Apache: 1 if AuthBasicProvider names OTP here and there is a users file, so that otpgate_admit() applies, else 0. */
int otpgate_settings_asked_by_basic(const otpgate_settings *settings);

/* Refusals go out at multiples of this many milliseconds; 0: at once. */
uint32_t otpgate_settings_refusal_time(const otpgate_settings *settings);

/*
 * Milliseconds until a refusal goes out whose request came `elapsed` milliseconds ago; 0: now. For servers that wait
 * without a thread. `refusal_time` from otpgate_settings_refusal_time().
 */
uint64_t otpgate_refusal_rest(uint32_t refusal_time, uint64_t elapsed);

/* The same if waiting takes a thread: also 0 if too many are waiting already, or too many of that client. */
uint64_t otpgate_refusal_wait(const otpgate_gate *gate, uint32_t refusal_time, uint64_t elapsed,
                              const otpgate_address *address);

/*
 * Lends the gate memory for counting waiting refusals, zeroed and shared by all processes, for as long as the gate lives;
 * before any other thread or process uses it. `threads`: the number of threads in all processes together;
 * otpgate_refusal_memory() says how many bytes they need. Without this, nobody waits.
 */
size_t otpgate_refusal_memory(size_t threads);
void otpgate_lend_refusal_memory(const otpgate_gate *gate, void *memory, size_t threads);

/* The external PIN providers in the order to ask them, for index 0, 1, …: 1 and its name, which lives as long as the
 * settings; 0 past the last. */
int otpgate_settings_pin_provider(const otpgate_settings *settings, size_t index, otpgate_str *name);

/*
 * Checks places for a configuration test: settings against each other and against whatever else asks for passwords there, and
 * the users and PIN files they name, with the access of `identity` (tested as that user when run by root). `roots` are
 * directories whose files are served. One log line per finding, at OTPGATE_LOG_ERROR (logins are refused, or secrets may be
 * served) or OTPGATE_LOG_WARNING, beginning with the place and the word `error` or `warning`. Returns the number of errors;
 * don't fail the test for them, since it runs before every start. Only for single-threaded processes.
 */
size_t otpgate_places_check(const otpgate_gate *gate, const otpgate_place *places, size_t count,
                            const otpgate_str *roots, size_t root_count, const otpgate_identity *identity, void *sink);

/* The scheme to judge a request with this Authorization header by: OTPGATE_BASIC or OTPGATE_DIGEST; 0: the place doesn't ask
 * for such credentials, send challenges. */
int otpgate_scheme(const otpgate_settings *settings, otpgate_str authorization);

/*
 * Decides one login, by Basic, or by Digest (RFC 7616, MD5 and SHA-256, qop=auth) with a nonce that the library manages and
 * this call uses up. Writes one log line. `answer` is always filled; the verdict is also returned. OTPGATE_DENIED with an
 * empty `result`: nothing was decided or counted; send challenges, with the answer's `stale`. So it is with OTPGATE_COOKIE where there is no
 * cookie of ours; the answer's response may then be what to send instead. With Basic and a cookie of the same user, the cookie decides first.
 * May block for some seconds on a lock, a disk or a slow PIN hash.
 */
int otpgate_decide(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * The same for an event loop: decides what can be decided at once, from memory or by reading the user's lines.
 * OTPGATE_WOULD_BLOCK: this login needs a save, a slow PIN hash, a search for a code in the window, or another
 * look at a changed file. Then nothing was saved, logged or kept in `memory`, `answer` holds no result but "error",
 * and the caller passes the same login to otpgate_decide() on a thread that may block.
 * That thread and the loop may not use the same `memory` at the same time.
 */
int otpgate_decide_now(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/* Whether `request_line`, `host`, `destination` and `path` of this login with Basic matter: 1 if they may, else 0. Of the
 * login, reads `password`. */
int otpgate_wants_target(const otpgate_login *login);

/* 1 if a cookie may let somebody in here, or the answer to a login may set one: what a browser says is needed, and a request without
 * credentials is decided by OTPGATE_COOKIE. Else 0. */
int otpgate_settings_wants_cookie(int server, const otpgate_settings *settings);

/* 1 if what stands behind the server is not to see our cookies (otpgate_strip()) nor an Authorization header that was ours. Else 0. */
int otpgate_settings_strips(int server, const otpgate_settings *settings);

/* The path of the page to log in that is set for this place; empty: none. It lives as long as the settings. */
otpgate_str otpgate_settings_login_page(const otpgate_settings *settings);

/*
 * The page to log in, for a request to it (GET, HEAD or POST): decides what was sent to it, and fills in `answer` with what is to be
 * sent: its response is never NULL, and has a status. `scheme` isn't read. May block like otpgate_decide().
 */
int otpgate_page(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/* The status of a response; 0: none of its own. NULL is a response without anything, in these functions. */
int otpgate_response_status(const otpgate_response *response);

/* Name and value of header `index`, from 0; they live as long as the response. 1: there is one. 0: there are no more. */
int otpgate_response_header(const otpgate_response *response, size_t index, otpgate_str *name, otpgate_str *value);

/* The body; it lives as long as the response. */
otpgate_str otpgate_response_body(const otpgate_response *response);

/* Releases a response. NULL is allowed. */
void otpgate_response_free(otpgate_response *response);

/* Copies a Cookie header without our cookies to `buffer`, of at least `cookie.len` bytes, and returns its length; 0: nothing is left, and the
 * header is to go. */
size_t otpgate_strip(otpgate_str cookie, char *buffer);

/*
 * For handing a login to another thread: copies all its strings into `memory`, one block of otpgate_login_size()
 * bytes, and points the login there. Its other pointers (settings, zone, memory, request) stay as they are. The block
 * may contain a password: overwrite it after use.
 */
size_t otpgate_login_size(const otpgate_login *login);
void otpgate_login_copy(otpgate_login *login, char *memory);

/*
 * For a server that can't answer 429 or 503 once it has asked a provider: the answer to give before the PIN of a Basic login
 * is looked at. Of the login, reads `authorization`, and takes user and password from there. Not needed if
 * otpgate_was_granted() says so.
 * 0: go on; also if otpgate_settings_asked_by_basic() is 0. Else OTPGATE_THROTTLED or OTPGATE_BUSY, and `answer` is filled;
 * logs at most one line once in a while.
 * Whatever turns out only later is in the answer of otpgate_decide().
 */
int otpgate_admit(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/* 1 if the credentials of that header have been granted on the connection whose number this is (otpgate_login.connection),
 * as good as surely, else 0. */
int otpgate_was_granted(const uint64_t *connection, otpgate_str authorization);

/*
 * For a server that finds an Authorization header, but none it can use here: another scheme, or no user name.
 * Writes one log line. Call it once per client request, and only if there is such a header.
 */
void otpgate_unfit(const otpgate_gate *gate, const otpgate_settings *settings, otpgate_str authorization, void *request);

/* After a login has been with a thread for this many milliseconds, log OTPGATE_EVENT_OVERDUE. */
#define OTPGATE_LOGIN_OVERDUE 60000

/* Reports something the server noticed that an admin must know. Writes one log line. `subject` is empty unless noted. */
#define OTPGATE_EVENT_WITHOUT_TLS 1       /* a request without TLS gets 403 */
#define OTPGATE_EVENT_OVERDUE 2           /* a login takes too long */
#define OTPGATE_EVENT_QUEUE_FULL 3        /* a login gets 503: too many are waiting for a thread */
#define OTPGATE_EVENT_PART_REFUSED 4      /* a sub-request gets 403; subject: its path */
#define OTPGATE_EVENT_PROVIDER_GONE 5     /* a PIN provider is no longer registered; subject: its name */
#define OTPGATE_EVENT_NO_REFUSAL_MEMORY 6 /* there is no memory for otpgate_lend_refusal_memory() */
#define OTPGATE_EVENT_NOT_THE_PAGE 7      /* at the path of the page to log in, there is something else; subject: its path */
void otpgate_log_event(const otpgate_gate *gate, int event, otpgate_str subject, void *request);

/*
 * First half of a Digest login (MD5), before the server has checked nonce and nc: finds the acceptable password that the
 * client's response was computed from.
 * OTPGATE_MATCHED: `ha1` holds the OTPGATE_HA1_LEN characters for the server to check the response with.
 * Nothing is spent or granted yet: otpgate_digest_spend() does that.
 * Anything else: refuse the request as for otpgate_decide(); counts are updated, one log line is written, and `ha1` is all
 * NUL. The same goes for a Basic header, for which mod_auth_basic may also want a hash.
 */
int otpgate_digest_match(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer,
                         char (*ha1)[OTPGATE_HA1_LEN]);

/*
 * After a denied Basic login: the number of the next code on the user's paper list, for the page that asks again. 0: there
 * is none to be told. Known only if the password was the right PIN without a code, from an address where the user is
 * known, and wrong tries are counted there. `memory` is that of the login.
 */
uint32_t otpgate_paper_next(const otpgate_memory *memory);

/*
 * Second half, once the server has accepted response, nonce, nc and opaque: decides like otpgate_decide().
 * Only OTPGATE_GRANTED lets the request in; the answer may differ from the first half's, because the code may have been
 * used in between. Pass the same `login` and `memory` as for the first half.
 */
int otpgate_digest_spend(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * Initialises new memory, once, before any other use. 0: done. Else it is too small (the minimum is some hundred bytes),
 * or the system has no random bytes. Memory initialised by an older process of the same server, say before a reload, is
 * used as it is.
 */
int otpgate_zone_init(const otpgate_zone *zone);

/* The most challenges sent at once, and the bytes they need for a realm of up to 256 bytes. */
#define OTPGATE_CHALLENGES_MAX 3
#define OTPGATE_CHALLENGES_SIZE 2560

/*
 * The values of the WWW-Authenticate headers of one 401 answer, in the order to send them: those for the section's scheme.
 * They are written to `buffer`; `challenges` says where. `zone` may be NULL if the scheme is Basic.
 * Returns their number; 0 if the realm can't be used (control characters, not UTF-8 or too long): answer 500 then;
 * a log line says why.
 */
size_t otpgate_challenges(const otpgate_gate *gate, const otpgate_settings *settings, otpgate_str realm,
                          const otpgate_zone *zone, int stale, otpgate_str (*challenges)[OTPGATE_CHALLENGES_MAX],
                          char *buffer, size_t buffer_size, void *request);

#ifdef __cplusplus
}
#endif

#endif
