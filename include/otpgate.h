/*
 * otpgate.h - one-time-password login for web servers: the C contract.
 *
 * Shape of a server module that uses it:
 *   1. once per configuration:  otpgate_gate_new()
 *   2. per directive:           otpgate_settings_set(), per section: otpgate_settings_merge()
 *   3. in a configuration test: otpgate_places_check()
 *   4. per request:             otpgate_decide(); on an event loop otpgate_decide_now() first. For Digest it needs a zone
 *                               of shared memory, made ready by otpgate_zone_init(); where the server itself looks after
 *                               nonces, it is otpgate_digest_match() and then otpgate_digest_spend()
 *   5. for a 401:               otpgate_challenges(), unless the server has challenges of its own
 *
 * Rules that hold for every function here:
 *   - It may be called from any thread, and in a child after fork(), unless its comment says otherwise.
 *   - No call unwinds or aborts into the caller. A fault inside the library is reported as an error
 *     verdict (or a documented failure value) and one log line without data of the request.
 *   - A value that this header doesn't name, in either direction, means: deny.
 *   - Bytes are passed with their length. A `data` pointer may be NULL only where `len` is 0.
 *   - Nothing is kept of a pointer after the call, except where a comment says so.
 *   - No PIN, code, key or password is ever part of a message handed to `log`.
 */
#ifndef OTPGATE_H
#define OTPGATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised whenever a struct or a meaning below changes. otpgate_gate_new() refuses another number. */
#define OTPGATE_API_VERSION 2

/* Bytes with a length; same layout as nginx's ngx_str_t. Not terminated by NUL. */
typedef struct otpgate_str {
    size_t len;
    const unsigned char *data;
} otpgate_str;

/* Which server speaks: it selects names and defaults of the settings. */
#define OTPGATE_APACHE 1
#define OTPGATE_NGINX 2

/* Verdicts. Treat every other number as OTPGATE_DENIED. */
#define OTPGATE_GRANTED 1 /* let the request in */
#define OTPGATE_DENIED 2  /* ask for credentials again (401); never pass on to another provider */
#define OTPGATE_UNKNOWN 3 /* not our user: another provider may decide; without one, 401 */
#define OTPGATE_ERROR 4   /* could not decide: 500; the log says why */
#define OTPGATE_WOULD_BLOCK 5 /* of otpgate_decide_now() only: have otpgate_decide() do it where it may block */

#define OTPGATE_THROTTLED 6 /* too many wrong ones lately: 429, with Retry-After from the answer */
#define OTPGATE_BUSY 7      /* too many wait: 503, with Retry-After from the answer */
#define OTPGATE_MATCHED 8   /* of otpgate_digest_match() only: nothing is granted yet */

/* Answers of an external PIN provider. Every other number is taken for OTPGATE_PIN_ERROR. */
#define OTPGATE_PIN_RIGHT 1
#define OTPGATE_PIN_WRONG 2
#define OTPGATE_PIN_UNKNOWN 3 /* no provider knows the user */
#define OTPGATE_PIN_ERROR 4

/* How credentials authenticate. */
#define OTPGATE_BASIC 1  /* RFC 7617 */
#define OTPGATE_DIGEST 2 /* RFC 7616 */

/* Log levels, numbered as in syslog(3). */
#define OTPGATE_LOG_ERROR 3
#define OTPGATE_LOG_WARNING 4
#define OTPGATE_LOG_NOTICE 5
#define OTPGATE_LOG_INFO 6
#define OTPGATE_LOG_DEBUG 7

/*
 * What the server lends the library; copied by otpgate_gate_new().
 *
 * `request` is the pointer of the call that caused the callback (otpgate_login.request, or the `sink`
 * of otpgate_places_check()); the library only passes it through.
 */
typedef struct otpgate_host {
    uint32_t api_version; /* OTPGATE_API_VERSION */
    uint32_t server;      /* OTPGATE_APACHE or OTPGATE_NGINX */

    /* Directory that relative file names in settings start from. Copied. */
    otpgate_str root;

    /* Writes one line to the server's log. `message` is printable ASCII without a line end, and for OTPGATE_APACHE also
     * has the bytes that httpd shows as \xHH by itself; it must be passed on as an argument, never as a format. `level`
     * is the server's own for such lines. Called from the thread of the causing call. */
    void (*log)(void *request, int level, otpgate_str message);

    /* Asks the section's PIN providers, in order, about a PIN marked `+`. Called from the thread of the
     * causing otpgate_decide(), with no lock held. Its answers are not remembered. Not called where a setting names a PIN
     * file: the library reads that itself. May be NULL: then such PINs are refused with a log line where there is no such
     * file. */
    int (*check_pin)(void *request, otpgate_str user, otpgate_str pin);

    /* Keep all other threads and processes from a zone, for some microseconds. `mutex` is that of otpgate_zone.
     * A lock whose holder has died must become free again. May be NULL where no zone is used. */
    void (*lock_zone)(void *mutex);
    void (*unlock_zone)(void *mutex);
} otpgate_host;

/* Memory that all processes of a server share, for the nonces of Digest logins. About 40 bytes a nonce in use. */
typedef struct otpgate_zone {
    void *memory; /* aligned for uint64_t */
    size_t size;  /* in bytes */
    void *mutex;  /* handed to lock_zone and unlock_zone */
} otpgate_zone;

/* One configuration's state: open users files, indexes, caches. NULL in its place is answered as an error. */
typedef struct otpgate_gate otpgate_gate;

/*
 * Settings of one section, filled by otpgate_settings_set(). Plain memory: all zero means "nothing set";
 * it may be copied by assignment and needs no release. It keeps the `data` pointers of the arguments and
 * of the places given to otpgate_settings_set(), so those must live as long as the settings do.
 * The content is the library's own. Any number of threads may read it at a time.
 */
#define OTPGATE_SETTINGS_WORDS 128
typedef struct otpgate_settings {
    uint64_t opaque[OTPGATE_SETTINGS_WORDS];
} otpgate_settings;

/*
 * What was decided about one HTTP request, so that sub-requests and internal redirects spend no second code.
 * Where they come to places with the same deciding settings, the same holds. Elsewhere a grant is decided by the
 * settings of that place, on the record that it was decided on, and what was done to the user since counts. PINs
 * that check_pin looks after are asked about again each time. Plain memory, zeroed by the server when the request begins,
 * one per client request: all its sub-requests and redirects share it, or have copies. No two threads may pass the
 * same one at the same time. What it holds is as good as the code, and for Digest as the password.
 */
#define OTPGATE_MEMORY_WORDS 96
typedef struct otpgate_memory {
    uint64_t opaque[OTPGATE_MEMORY_WORDS];
} otpgate_memory;

/* A client's IP address as the server sees it, in network order. */
typedef struct otpgate_address {
    uint8_t len; /* 4 or 16; 0: the client has none (a unix socket). Every other number is taken for 0 */
    uint8_t bytes[16];
} otpgate_address;

/*
 * One login attempt. All zero, and then what applies: with `scheme` OTPGATE_BASIC user and password; with OTPGATE_DIGEST
 * `authorization` and what stands below it.
 */
typedef struct otpgate_login {
    const otpgate_settings *settings; /* the merged settings of the place that is asked for */
    int scheme;    /* OTPGATE_BASIC or OTPGATE_DIGEST, read by otpgate_decide() and otpgate_decide_now() alone */
    int log_level; /* the highest level whose lines are written for this request; 0: not known */
    int has_tls;   /* 1: the request came over TLS. Where a setting demands that, others are denied */
    /* 1: a sub-request that the server runs without asking for a login. It is granted only where `memory` holds a
     * grant of the request it is a part of, for the same users file, user, address and credentials, and where that
     * grant holds by the settings of this place, too; else it is denied. Nothing is judged afresh. */
    int is_part;
    int is_for_pin; /* 1: it comes while check_pin of the same request is at work, and is an error. `memory` is left alone */
    otpgate_address address;
    /* Digest: the header's whole value. Basic: the header that user and password were taken from, where the server keeps
     * them as C strings: those end at a NUL that the client has put into the header, and such a login is denied. Empty:
     * not looked at. */
    otpgate_str authorization;
    otpgate_str user;     /* as the server has read it from the header; otpgate_decide() reads that of Digest itself */
    otpgate_str password; /* PIN and code as the client sent them */
    otpgate_str realm;    /* that the server goes by */
    otpgate_str method;   /* that the server goes by; for otpgate_decide() a whole request line will do */
    otpgate_str target;   /* for otpgate_decide(): the target of the request as it stands in the request line */
    const otpgate_zone *zone; /* for otpgate_decide() with Digest: made ready by otpgate_zone_init() */
    otpgate_memory *memory;   /* NULL: judge afresh */
    /* For otpgate_admit() and otpgate_decide(): a number that the server keeps for as long as a connection lasts, 0 in the
     * beginning. It spares otpgate_admit() a look at credentials that were granted on the same connection before, and
     * has no other meaning. NULL: none is kept. */
    uint64_t *connection;
    /* For otpgate_decide_now(): the turn of the event loop, a number above 0 that no other turn of this process has.
     * Requests of one turn share one look at whether the users file has changed. 0: look each time. */
    uint64_t turn;
    void *request; /* handed to the callbacks */
} otpgate_login;

/* Hexadecimal characters of MD5(user:realm:password), without a NUL. */
#define OTPGATE_HA1_LEN 32

/* Bytes of the longest name that a users file can hold. */
#define OTPGATE_USER_MAX 255

/* Enough for any header that otpgate_answer.upstream can hold. */
#define OTPGATE_UPSTREAM_MAX 2048

/* The answer; owned and provided by the caller. */
typedef struct otpgate_answer {
    int32_t verdict; /* one of the verdicts above */

    /* 1: a Digest nonce could not be used any more, and that is all that is known to be wrong: pass it on to
     * otpgate_challenges(). Else 0. */
    int32_t stale;

    /* With OTPGATE_THROTTLED and OTPGATE_BUSY: seconds until something may be tried again, at least 1. Else 0. */
    uint32_t retry_after;

    /* Whether `result` is set on grants only or always is the server's to honour: the log may see it
     * always, the request's environment on grants only. Static, NUL-terminated, never NULL; one of
     * granted-fresh granted-reuse denied-pin denied-code denied-expired denied-ip denied-locked
     * denied-throttled denied-busy forgotten unknown error; or empty: nothing was decided, the client needs another
     * Digest nonce, or it is OTPGATE_MATCHED. */
    const char *result;

    /* On a grant: who was let in. Else 0. */
    size_t user_len;
    char user[OTPGATE_USER_MAX];

    /* With PINFakeBasicAuth and a grant: the Authorization header for what stands behind us. Else 0. */
    size_t upstream_len;
    char upstream[OTPGATE_UPSTREAM_MAX];
} otpgate_answer;

/* The user whose access to files otpgate_places_check() tries out. */
typedef struct otpgate_identity {
    uint32_t uid;
    uint32_t gid;
} otpgate_identity;

/*
 * What a configuration test tells of one place: nginx, of each where logins are asked for; Apache, of each section in
 * which otpgate_settings_set() was called, merged or not. Strings that don't apply are empty.
 */
typedef struct otpgate_place {
    const otpgate_settings *settings; /* nginx: merged; Apache: the section's own */
    otpgate_str place;       /* nginx: of auth_otp; as in otpgate_settings_set() */
    otpgate_str realm;       /* nginx: as it is written there, variables and all */
    otpgate_str other_realm; /* nginx: the same of auth_basic in that place */
    /* Apache: the directives that begin the blocks around it, from the outside, each as "file:line <Location /private>"
     * and ended by a line end. */
    otpgate_str section;
    int is_on_unix_socket;   /* nginx: 1 if its server listens on one, else 0 */
    int is_any_enough;       /* nginx: 1 if any of several access checks lets in, else 0 */
} otpgate_place;

/* The address that a text names, for servers that keep it so: IPv4, or IPv6, whose name of an interface ("fe80::1%eth0")
 * doesn't count. Of any other text: none. */
otpgate_address otpgate_address_of(otpgate_str text);

/* "major.minor.patch" of the library; static, NUL-terminated. */
const char *otpgate_version(void);

/* Makes a gate. NULL if host->api_version isn't known or host->log is NULL. */
otpgate_gate *otpgate_gate_new(const otpgate_host *host);

/* Ends a gate. NULL is allowed. No other call may be using it; not to be called in a signal handler. */
void otpgate_gate_free(otpgate_gate *gate);

/* No server has more settings. */
#define OTPGATE_SETTINGS_MAX 32

/* Name and usage text of each setting of a server, for index 0, 1, …; static, NUL-terminated. NULL: there is none left. */
const char *otpgate_setting_name(int server, size_t index);
const char *otpgate_setting_usage(int server, size_t index);

/*
 * Takes one directive. On Apache also the server's own AuthType, AuthBasicProvider, AuthDigestProvider, AuthFormProvider and
 * AuthBasicUseDigestAlgorithm, which otpgate_places_check() and otpgate_admit() go by. `name` as in the server's
 * configuration, `args` its words, `place` what to call this spot in messages ("file:line"). Pointers reachable from `args`
 * and `place` are kept in the settings, and so must live as long.
 * `gate`: where the settings belong, so that logins find their users file without a look at its path. NULL for settings of a
 * single request (.htaccess), which may name any number of files.
 * 0: taken. Else the value is refused and `error` holds the reason, NUL-terminated, cut to error_size.
 */
int otpgate_settings_set(const otpgate_gate *gate, otpgate_settings *settings, int server, otpgate_str name,
                         const otpgate_str *args, size_t nargs, otpgate_str place, char *error, size_t error_size);

/* Reads nginx's auth_otp_zone, "name:size": the word begins with `name_len` bytes of name, and asks for `size` bytes. `page`:
 * bytes of a memory page. 0: done. Else `error` says why it is refused. */
int otpgate_zone_of_directive(otpgate_str word, size_t page, size_t *name_len, size_t *size, char *error,
                              size_t error_size);

/* What a realm asks for: that of a directive, and that of a request, whose variables have their values. */
#define OTPGATE_REALM_OFF 0 /* nothing */
#define OTPGATE_REALM_ON 1
#define OTPGATE_REALM_BAD -1 /* the directive is refused, `error` says why; answer 500 to the request, the log says why */
int otpgate_realm_of_directive(otpgate_str word, char *error, size_t error_size);
int otpgate_realm_of_request(const otpgate_gate *gate, otpgate_str realm, void *request);

/* out = base overlaid by child, setting by setting, by the rules of that server. out may be base or child. */
void otpgate_settings_merge(otpgate_settings *out, int server, const otpgate_settings *base,
                            const otpgate_settings *child);

/* 1 if requests without TLS must be answered 403 before credentials are looked at, else 0. */
int otpgate_settings_require_tls(const otpgate_settings *settings);

/* 1 if Basic credentials are looked at here, else 0. */
int otpgate_settings_has_basic(const otpgate_settings *settings);

/* 1 if Digest credentials are looked at here, so that a zone is needed, else 0. Where the server itself knows the scheme
 * (Apache) there is no such setting. */
int otpgate_settings_has_digest(const otpgate_settings *settings);

/* Apache: 1 if AuthBasicProvider names OTP here and there is a users file, so that otpgate_admit() has a say, else 0. */
int otpgate_settings_asked_by_basic(const otpgate_settings *settings);

/* Milliseconds of which refusals go out at multiples; 0: at once. */
uint32_t otpgate_settings_refusal_time(const otpgate_settings *settings);

/*
 * Milliseconds until a refusal is to go out that was asked for `elapsed` milliseconds ago; 0: now. For servers that wait
 * without a thread. `refusal_time` as otpgate_settings_refusal_time() says.
 */
uint64_t otpgate_refusal_rest(uint32_t refusal_time, uint64_t elapsed);

/* The same where waiting takes a thread: 0 also if too many wait already, or too many of that client. */
uint64_t otpgate_refusal_wait(const otpgate_gate *gate, uint32_t refusal_time, uint64_t elapsed,
                              const otpgate_address *address);

/*
 * Lends the gate memory in which those who wait are counted, zeroed and shared by all processes, for as long as the gate
 * lives; before any other thread or process uses it. `threads`: how many threads all processes have together;
 * otpgate_refusal_memory() says how many bytes are needed for them. Without this, nobody waits.
 */
size_t otpgate_refusal_memory(size_t threads);
void otpgate_lend_refusal_memory(const otpgate_gate *gate, void *memory, size_t threads);

/* Names of the external PIN providers, in order; NULL and *count 0 if none. Points into the settings. */
const otpgate_str *otpgate_settings_pin_providers(const otpgate_settings *settings, size_t *count);

/*
 * Looks at places for a configuration test: settings against each other and against what else asks for passwords there, and
 * the users and PIN files they name, with the access that `identity` has (tried as that user when run by root). `roots` are
 * directories whose files are served. One log line per finding, at OTPGATE_LOG_ERROR (logins are refused, or secrets may be
 * served) or OTPGATE_LOG_WARNING, which begins with the place and the word `error` or `warning`. Returns the number of errors;
 * they are no reason to fail the test, which servers run before every start. May be called from a single-threaded process only.
 */
size_t otpgate_places_check(const otpgate_gate *gate, const otpgate_place *places, size_t count,
                            const otpgate_str *roots, size_t root_count, const otpgate_identity *identity, void *sink);

/* What to judge a request by that has this Authorization header: OTPGATE_BASIC or OTPGATE_DIGEST; 0: the place doesn't ask
 * for such credentials, send challenges. */
int otpgate_scheme(const otpgate_settings *settings, otpgate_str authorization);

/*
 * Decides one login, by Basic, or by Digest (RFC 7616, MD5 and SHA-256, qop=auth) whose nonce is ours to look after and is
 * used up by it. Writes one log line. `answer` is always filled; the verdict is also returned. OTPGATE_DENIED with an empty
 * `result`: nothing was decided or counted; send challenges, with the `stale` of the answer.
 * May block for up to some seconds on a lock, a disk or a slow PIN hash.
 */
int otpgate_decide(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * The same for an event loop: decides what can be decided at once, from memory or by reading the user's lines.
 * OTPGATE_WOULD_BLOCK: this login needs something saved, a slow PIN hash, a code looked for in the window, or another
 * look at a file that has changed. Then nothing has been saved, logged or kept in `memory`, `answer` holds no
 * result but "error", and otpgate_decide() with the same login, on a thread that may block, decides.
 * Such a thread and the loop may not use the same `memory` at the same time.
 */
int otpgate_decide_now(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * For handing a login to another thread: puts all that its strings hold into `memory`, one block of otpgate_login_size()
 * bytes, and has them point there. What it points to else (settings, zone, memory, request) stays where it is. The block
 * may hold a password: overwrite it before it goes out of use.
 */
size_t otpgate_login_size(const otpgate_login *login);
void otpgate_login_copy(otpgate_login *login, char *memory);

/*
 * For a server that can't answer 429 or 503 once it has asked a provider: what is to be answered before anybody looks at
 * the PIN of a Basic login. Of the login, `authorization` is read, and user and password are taken from there.
 * 0: nothing, go on; so where otpgate_settings_asked_by_basic() is 0. Else OTPGATE_THROTTLED or OTPGATE_BUSY, and `answer` is
 * filled; a log line is written at most once a while.
 * What the server finds out between this and otpgate_decide() comes as an answer of the latter.
 */
int otpgate_admit(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * For a server that finds an Authorization header, but none to judge by what it asks for here: another scheme, or no user
 * name. Writes one log line. To be called once per client request, and not where there is no such header.
 */
void otpgate_unfit(const otpgate_gate *gate, const otpgate_settings *settings, otpgate_str authorization, void *request);

/* A login has been with a thread for so many milliseconds: time for OTPGATE_EVENT_OVERDUE. */
#define OTPGATE_LOGIN_OVERDUE 60000

/* What the server finds by itself and an admin has to know. Writes one log line. `subject` is empty but where it says so. */
#define OTPGATE_EVENT_WITHOUT_TLS 1       /* a request without TLS is answered 403 */
#define OTPGATE_EVENT_OVERDUE 2           /* a login takes too long */
#define OTPGATE_EVENT_QUEUE_FULL 3        /* a login is answered 503: too many wait for a thread */
#define OTPGATE_EVENT_PART_REFUSED 4      /* a sub-request is answered 403; its path */
#define OTPGATE_EVENT_PROVIDER_GONE 5     /* a PIN provider isn't registered any more; its name */
#define OTPGATE_EVENT_NO_REFUSAL_MEMORY 6 /* there is nothing for otpgate_lend_refusal_memory() */
void otpgate_log_event(const otpgate_gate *gate, int event, otpgate_str subject, void *request);

/*
 * First half of a Digest login (MD5), before the server has checked nonce and nc: finds out which acceptable
 * password the client's response was computed from.
 * OTPGATE_MATCHED: `ha1` holds the OTPGATE_HA1_LEN characters for the server to check the response with.
 * Nothing is spent and nothing granted yet: that is otpgate_digest_spend()'s to say.
 * Anything else: refuse the request as otpgate_decide() says; what had to be counted is counted, one log line is
 * written, and `ha1` is all NUL. So it is with a Basic header, for which mod_auth_basic may want a hash, too.
 */
int otpgate_digest_match(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer,
                         char (*ha1)[OTPGATE_HA1_LEN]);

/*
 * Second half, once the server has accepted response, nonce, nc and opaque: decides like otpgate_decide().
 * Only OTPGATE_GRANTED lets the request in; the answer may differ from the first half's, because somebody else
 * may have used the code in between. `login` as for the first half, `memory` the same one.
 */
int otpgate_digest_spend(const otpgate_gate *gate, const otpgate_login *login, otpgate_answer *answer);

/*
 * Makes memory ready that is new, once, before any other use. 0: done. Else it is too small (some hundred bytes are
 * the least), or the system has no random bytes. Memory that has been made ready by an older process of the same
 * server, before a reload say, is used as it is.
 */
int otpgate_zone_init(const otpgate_zone *zone);

/* At most so many challenges are sent at once, and so many bytes hold those of a realm of up to 256 bytes. */
#define OTPGATE_CHALLENGES_MAX 3
#define OTPGATE_CHALLENGES_SIZE 2560

/*
 * The values of the WWW-Authenticate headers of one 401 answer, in the order to be sent: those that the section's scheme
 * asks for. They are written to `buffer`; `challenges` says where. `zone` may be NULL where the scheme is Basic.
 * Returns their number; 0 if it can't be done (a realm with control characters, no UTF-8 or too long): answer 500 then,
 * a log line says why.
 */
size_t otpgate_challenges(const otpgate_gate *gate, const otpgate_settings *settings, otpgate_str realm,
                          const otpgate_zone *zone, int stale, otpgate_str (*challenges)[OTPGATE_CHALLENGES_MAX],
                          char *buffer, size_t buffer_size, void *request);

#ifdef __cplusplus
}
#endif

#endif
