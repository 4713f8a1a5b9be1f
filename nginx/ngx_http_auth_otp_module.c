/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ngx_http_auth_otp_module: one-time passwords for nginx, asked for by Basic or Digest authentication, or by a page.
 *
 * This file translates between nginx and otpgate.h and decides nothing itself: the meaning of directives, who
 * gets in and the log text are up to the library.
 *
 * When nginx calls what:
 *   directives       at start, at each reload, and in a configuration test:   otpgate_settings_set()
 *   merging          afterwards, from http to server to location:             otpgate_settings_merge()
 *   init_module      once the user directive is known; in a test:             otpgate_places_check()
 *   PREACCESS        per request, before anything looks at credentials:       auth_otp_require_tls
 *   ACCESS           per request and again for each internal redirect, not
 *                    for sub-requests; last of its phase, so that allow and
 *                    deny have decided by then:                               otpgate_decide_now()
 *   a pool thread    if that would block:                                     otpgate_decide()
 *   ACCESS again     when the thread is done:                                 the answer is carried out
 *   PRECONTENT       per request: refuses sub-requests that ACCESS didn't see;
 *                    takes what is ours out of what is passed on:             otpgate_strip()
 *   CONTENT          the page to log in, on a pool thread:                    otpgate_page()
 *   header filter    where cookies are used: adds what the library has for the browser to whatever is answered
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <nginx.h>

#include "otpgate.h"

#if !(NGX_THREADS)
#error "auth_otp needs thread pools: configure nginx with --with-threads"
#endif

/* The same layout, so that nginx's arrays of words can be handed over as they are. */
typedef char ngx_http_auth_otp_str_is_otpgate_str[
    sizeof(ngx_str_t) == sizeof(otpgate_str)
    && offsetof(ngx_str_t, len) == offsetof(otpgate_str, len)
    && offsetof(ngx_str_t, data) == offsetof(otpgate_str, data) ? 1 : -1];

/* The default zone for nonces. */
#define NGX_HTTP_AUTH_OTP_ZONE_NAME "auth_otp"
#define NGX_HTTP_AUTH_OTP_ZONE_SIZE (1024 * 1024)

typedef struct {
    otpgate_gate *gate;
    ngx_array_t places;    /* of otpgate_place: with logins; only in a configuration test */
    ngx_array_t roots;     /* of otpgate_str: directories whose files are served; only in a configuration test */
    ngx_shm_zone_t *zone;  /* for nonces; its data is an otpgate_zone. NULL: Digest isn't used */
    ngx_uint_t has_cookies;  /* somewhere a cookie may be set */
} ngx_http_auth_otp_main_conf_t;

typedef struct {
    otpgate_settings settings;
    ngx_flag_t is_on;
    ngx_uint_t is_page;   /* `auth_otp_login`: the page to log in, which needs no login */
    ngx_uint_t has_basic; /* Basic credentials are looked at */
    ngx_uint_t has_challenges;  /* credentials are asked for by challenges */
    ngx_uint_t wants_cookie;    /* what a browser says matters */
    ngx_uint_t strips;    /* what is passed on has nothing of ours */
    ngx_http_complex_value_t realm;
    ngx_str_t place;       /* of `auth_otp` */
    ngx_str_t page_place;  /* of `auth_otp_login` */
    ngx_thread_pool_t *pool;
    uint64_t seen;    /* the commands this section has, by number */
} ngx_http_auth_otp_loc_conf_t;

/* A line that was logged on a thread of the pool, kept for the loop. */
typedef struct ngx_http_auth_otp_line_s ngx_http_auth_otp_line_t;

struct ngx_http_auth_otp_line_s {
    ngx_http_auth_otp_line_t *next;
    int level;
    size_t len;
    u_char text[1];
};

/* Passed through the library as its `request`. */
typedef struct {
    ngx_log_t *log;  /* NULL on pool threads: `lines` are kept instead */
    ngx_uint_t is_test;  /* a configuration test, whose lines go to the caller */
    ngx_http_auth_otp_line_t *lines;
    ngx_http_auth_otp_line_t **last;
} ngx_http_auth_otp_call_t;

/* What is to be sent to a browser; released with the request. */
typedef struct ngx_http_auth_otp_response_s ngx_http_auth_otp_response_t;

struct ngx_http_auth_otp_response_s {
    otpgate_response *response;
    ngx_http_auth_otp_response_t *next;
};

/* The body of a login by the page. PIN and code are in it: it is kept here alone, and never in a file. */
typedef struct {
    size_t len;
    u_char text[OTPGATE_BODY_MAX];
} ngx_http_auth_otp_body_t;

/* A login decided on a pool thread. */
typedef struct {
    ngx_thread_task_t *task;
    unsigned is_out:1;       /* a pool thread is deciding */
    unsigned is_answered:1;  /* it has, and `task` holds the answer */
} ngx_http_auth_otp_errand_t;

/*
 * Shared by all sub-requests and internal redirects of one client request. Attached to the request's pool,
 * because a redirect clears r->ctx.
 */
typedef struct {
    otpgate_memory memory;
    const char *result;  /* of the last decision; NULL: none yet */
    ngx_str_t user;      /* who was let in */
    unsigned is_granted:1;
    unsigned is_digest:1;    /* the last attempt was one of Digest */
    ngx_time_t arrival;      /* when we were first asked; not when the request began, which a slow client could choose */
    unsigned has_waited:1;   /* a refusal of this request has */
    unsigned is_unfit:1;     /* its credentials can't be judged; already logged */
    otpgate_answer *waiting; /* a refusal that isn't to go out yet */
    ngx_http_auth_otp_errand_t errand;
    ngx_str_t replaced;      /* the Digest header that auth_otp_pin_fake_basic has replaced */
    ngx_table_elt_t *challenges[OTPGATE_CHALLENGES_MAX];  /* put into the answer so far */
    ngx_table_elt_t *retry_after;  /* the same */
    ngx_http_auth_otp_response_t *response;  /* of the last decision, until it is carried out */
    ngx_http_auth_otp_response_t *added;     /* those whose headers are added to whatever is answered */
    ngx_http_auth_otp_body_t *body;          /* of a login by the page */
    unsigned has_credentials:1;      /* the last attempt had an Authorization header for us */
    ngx_str_t cookie;                /* as the client sent it, if something has been taken out since */
    ngx_table_elt_t *authorization;  /* the header that has been taken out */
} ngx_http_auth_otp_state_t;

/* A sub-request that a thread has to decide. */
typedef struct {
    otpgate_memory memory;  /* a copy: a part's decision doesn't replace that of the whole */
    ngx_http_auth_otp_errand_t errand;
} ngx_http_auth_otp_part_t;

/* Everything the thread works on. */
typedef struct {
    ngx_http_request_t *r;
    ngx_http_auth_otp_errand_t *errand;
    otpgate_gate *gate;
    otpgate_login login;
    u_char *strings;  /* of the login, in memory that the loop doesn't change while a thread reads it */
    size_t size;
    otpgate_answer answer;
    ngx_http_auth_otp_call_t call;
} ngx_http_auth_otp_task_t;

static ngx_int_t ngx_http_auth_otp_preaccess(ngx_http_request_t *r);
static ngx_int_t ngx_http_auth_otp_access(ngx_http_request_t *r);
static ngx_int_t ngx_http_auth_otp_precontent(ngx_http_request_t *r);
static ngx_int_t ngx_http_auth_otp_page(ngx_http_request_t *r);
static ngx_int_t ngx_http_auth_otp_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_auth_otp_carry_out(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state,
    ngx_str_t *realm, otpgate_answer *answer);
static void ngx_http_auth_otp_wipe(void *memory, size_t len);
static void ngx_http_auth_otp_wipe_state(void *data);
static void ngx_http_auth_otp_wipe_part(void *data);
static char *ngx_http_auth_otp_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_auth_otp_set_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_auth_otp_set_page(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_auth_otp_set_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_auth_otp_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_auth_otp_add_variables(ngx_conf_t *cf);
static void *ngx_http_auth_otp_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_auth_otp_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_auth_otp_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child);
static ngx_int_t ngx_http_auth_otp_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_auth_otp_init_module(ngx_cycle_t *cycle);

#define NGX_HTTP_AUTH_OTP_PLACES                                                                              \
    (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF | NGX_HTTP_LMT_CONF)

/* Directives specific to nginx. */
static const ngx_command_t ngx_http_auth_otp_own_commands[] = {

    { ngx_string("auth_otp"), NGX_HTTP_AUTH_OTP_PLACES | NGX_CONF_TAKE1, ngx_http_auth_otp_set_realm,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("auth_otp_login"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_auth_otp_set_page,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("auth_otp_thread_pool"), NGX_HTTP_AUTH_OTP_PLACES | NGX_CONF_TAKE1,
      ngx_http_auth_otp_set_pool, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },

    { ngx_string("auth_otp_zone"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_http_auth_otp_set_zone,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL }
};

#define NGX_HTTP_AUTH_OTP_OWN (sizeof(ngx_http_auth_otp_own_commands) / sizeof(ngx_command_t))

/* The last one stays empty. */
static ngx_command_t ngx_http_auth_otp_commands[NGX_HTTP_AUTH_OTP_OWN + OTPGATE_SETTINGS_MAX + 1];

/* nginx reads a module's directives before it calls the module: they must exist once it is loaded.
 * How many words a setting takes is up to the library. */
__attribute__((constructor)) static void
ngx_http_auth_otp_list_commands(void)
{
    ngx_command_t *cmd = &ngx_http_auth_otp_commands[NGX_HTTP_AUTH_OTP_OWN];
    const char *name;
    size_t i;

    ngx_memcpy(ngx_http_auth_otp_commands, ngx_http_auth_otp_own_commands, sizeof(ngx_http_auth_otp_own_commands));
    for (i = 0; (name = otpgate_setting_name(OTPGATE_NGINX, i)) != NULL; i++, cmd++) {
        cmd->name.data = (u_char *)name;
        cmd->name.len = ngx_strlen(name);
        cmd->type = NGX_HTTP_AUTH_OTP_PLACES | NGX_CONF_ANY;
        cmd->set = ngx_http_auth_otp_set;
        cmd->conf = NGX_HTTP_LOC_CONF_OFFSET;
    }
}

static ngx_http_module_t ngx_http_auth_otp_module_ctx = {
    ngx_http_auth_otp_add_variables,     /* preconfiguration */
    ngx_http_auth_otp_init,              /* postconfiguration */

    ngx_http_auth_otp_create_main_conf,  /* create main configuration */
    NULL,                                /* init main configuration */

    NULL,                                /* create server configuration */
    NULL,                                /* merge server configuration */

    ngx_http_auth_otp_create_loc_conf,   /* create location configuration */
    ngx_http_auth_otp_merge_loc_conf     /* merge location configuration */
};

ngx_module_t ngx_http_auth_otp_module = {
    NGX_MODULE_V1,
    &ngx_http_auth_otp_module_ctx,       /* module context */
    ngx_http_auth_otp_commands,          /* module directives */
    NGX_HTTP_MODULE,                     /* module type */
    NULL,                                /* init master */
    ngx_http_auth_otp_init_module,       /* init module */
    NULL,                                /* init process */
    NULL,                                /* init thread */
    NULL,                                /* exit thread */
    NULL,                                /* exit process */
    NULL,                                /* exit master */
    NGX_MODULE_V1_PADDING
};

static ngx_uint_t
ngx_http_auth_otp_has_tls(const ngx_http_request_t *r)
{
#if (NGX_SSL || NGX_COMPAT)
    return r->connection->ssl != NULL;
#else
    (void)r;
    return 0;
#endif
}

static otpgate_str
ngx_http_auth_otp_str(const ngx_str_t *s)
{
    otpgate_str out = { s->len, s->data };

    return out;
}

/* The compiler may drop a plain memset() of memory that isn't used again. */
static void
ngx_http_auth_otp_wipe(void *memory, size_t len)
{
    volatile u_char *byte = memory;

    while (len--) {
        *byte++ = 0;
    }
}

/* ---- Headers ---------------------------------------------------------------------------------------- */

/* A walk over a list of headers. */
typedef struct {
    ngx_list_part_t *part;
    ngx_uint_t i;
} ngx_http_auth_otp_walk_t;

static ngx_http_auth_otp_walk_t
ngx_http_auth_otp_walk(ngx_list_t *headers)
{
    ngx_http_auth_otp_walk_t walk = { &headers->part, 0 };

    return walk;
}

/* NULL: there are no more. */
static ngx_table_elt_t *
ngx_http_auth_otp_next(ngx_http_auth_otp_walk_t *walk)
{
    while (walk->part && walk->i >= walk->part->nelts) {
        walk->part = walk->part->next;
        walk->i = 0;
    }
    return walk->part ? (ngx_table_elt_t *)walk->part->elts + walk->i++ : NULL;
}

static ngx_uint_t
ngx_http_auth_otp_is_called(const ngx_str_t *name, const char *known)
{
    return name->len == ngx_strlen(known) && ngx_strncasecmp(name->data, (u_char *)known, name->len) == 0;
}

/* A header that a login may need. */
typedef struct {
    ngx_str_t name;
    size_t field;           /* where it goes in otpgate_login */
    const char *separator;  /* between several; NULL: the first counts */
} ngx_http_auth_otp_header_t;

static const ngx_http_auth_otp_header_t ngx_http_auth_otp_target_headers[] = {
    { ngx_string("Destination"), offsetof(otpgate_login, destination), ", " },
    { ngx_null_string, 0, NULL }
};

static const ngx_http_auth_otp_header_t ngx_http_auth_otp_browser_headers[] = {
    { ngx_string("Cookie"), offsetof(otpgate_login, cookie), "; " },
    { ngx_string("Accept"), offsetof(otpgate_login, accept), NULL },
    { ngx_string("Accept-Language"), offsetof(otpgate_login, accept_language), NULL },
    { ngx_string("Content-Type"), offsetof(otpgate_login, content_type), NULL },
    { ngx_string("Origin"), offsetof(otpgate_login, origin), NULL },
    { ngx_string("Sec-Fetch-Site"), offsetof(otpgate_login, fetch_site), NULL },
    { ngx_string("Sec-Fetch-Mode"), offsetof(otpgate_login, fetch_mode), NULL },
    { ngx_null_string, 0, NULL }
};

static ngx_int_t
ngx_http_auth_otp_read_headers(ngx_http_request_t *r, const ngx_http_auth_otp_header_t *wanted, otpgate_login *login)
{
    ngx_http_auth_otp_walk_t walk = ngx_http_auth_otp_walk(&r->headers_in.headers);
    const ngx_http_auth_otp_header_t *row;
    ngx_table_elt_t *header;
    otpgate_str *field;
    u_char *joined, *end;

    while ((header = ngx_http_auth_otp_next(&walk)) != NULL) {
        for (row = wanted; row->name.len; row++) {
            /* Most differ in their length. */
            if (header->key.len == row->name.len
                && ngx_strncasecmp(header->key.data, row->name.data, row->name.len) == 0)
            {
                break;
            }
        }
        field = row->name.len ? (otpgate_str *)((u_char *)login + row->field) : NULL;
        if (field == NULL || (field->data && row->separator == NULL)) {
            continue;
        }
        if (field->data == NULL) {
            *field = ngx_http_auth_otp_str(&header->value);
            continue;
        }
        joined = ngx_pnalloc(r->pool, field->len + ngx_strlen(row->separator) + header->value.len);
        if (joined == NULL) {
            return NGX_ERROR;
        }
        end = ngx_sprintf(joined, "%*s%s%V", field->len, field->data, row->separator, &header->value);
        field->data = joined;
        field->len = end - joined;
    }
    return NGX_OK;
}

/* Adds a header to the answer. `name` and `value` live as long as the request. NULL: no memory. */
static ngx_table_elt_t *
ngx_http_auth_otp_add(ngx_http_request_t *r, otpgate_str name, otpgate_str value)
{
    ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);

    if (header) {
        header->hash = 1;
        header->key.len = name.len;
        header->key.data = (u_char *)name.data;
        header->value.len = value.len;
        header->value.data = (u_char *)value.data;
#if (nginx_version >= 1023000)
        header->next = NULL;
#endif
    }
    return header;
}

static otpgate_str
ngx_http_auth_otp_text(const char *text)
{
    otpgate_str out = { ngx_strlen(text), (const unsigned char *)text };

    return out;
}

/* ---- Callbacks of the library ------------------------------------------------------------------------- */

static void
ngx_http_auth_otp_write(ngx_log_t *log, int level, size_t len, const u_char *text)
{
    ngx_uint_t own;

    switch (level) {
    case OTPGATE_LOG_ERROR:
        own = NGX_LOG_ERR;
        break;
    case OTPGATE_LOG_WARNING:
        own = NGX_LOG_WARN;
        break;
    case OTPGATE_LOG_NOTICE:
        own = NGX_LOG_NOTICE;
        break;
    case OTPGATE_LOG_INFO:
        own = NGX_LOG_INFO;
        break;
    default:
        own = NGX_LOG_DEBUG;
    }
    ngx_log_error(own, log, 0, "auth_otp: %*s", len, text);
}

/*
 * nginx's log line ends with the connection's details, which are read while the line is written: only the
 * loop may do it.
 */
static void
ngx_http_auth_otp_log(void *request, int level, otpgate_str message)
{
    ngx_http_auth_otp_call_t *call = request;
    ngx_http_auth_otp_line_t *line;
    ngx_uint_t is_error;

    if (call->log) {
        /* nginx also writes what the log accepts to stderr. */
        is_error = level == OTPGATE_LOG_ERROR;
        if (call->is_test && call->log->log_level < (ngx_uint_t)(is_error ? NGX_LOG_ERR : NGX_LOG_WARN)) {
            ngx_log_stderr(0, "[%s] auth_otp: %*s", is_error ? "error" : "warn", message.len, message.data);
            return;
        }
        ngx_http_auth_otp_write(call->log, level, message.len, message.data);
        return;
    }
    /* nginx's pools may not be used on a thread. */
    line = malloc(sizeof(ngx_http_auth_otp_line_t) + message.len);
    if (line == NULL) {
        return;
    }
    line->next = NULL;
    line->level = level;
    line->len = message.len;
    ngx_memcpy(line->text, message.data, message.len);
    *call->last = line;
    call->last = &line->next;
}

/* A call on the loop. */
static void
ngx_http_auth_otp_call_of(ngx_http_auth_otp_call_t *call, ngx_http_request_t *r)
{
    call->log = r->connection->log;
    call->is_test = 0;
}

static void
ngx_http_auth_otp_event(ngx_http_request_t *r, int event, const ngx_str_t *subject)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_call_t call;
    otpgate_str none = { 0, NULL };

    ngx_http_auth_otp_call_of(&call, r);
    otpgate_log_event(mcf->gate, event, subject ? ngx_http_auth_otp_str(subject) : none, &call);
}

static void
ngx_http_auth_otp_write_lines(ngx_http_auth_otp_call_t *call, ngx_log_t *log)
{
    ngx_http_auth_otp_line_t *line, *next;

    for (line = call->lines; line; line = next) {
        next = line->next;
        ngx_http_auth_otp_write(log, line->level, line->len, line->text);
        free(line);
    }
    call->lines = NULL;
    call->last = &call->lines;
}

/* nginx frees the lock of a dead process. It also excludes threads of one process from each other. */
static void
ngx_http_auth_otp_lock_zone(void *mutex)
{
    ngx_shmtx_lock(mutex);
}

static void
ngx_http_auth_otp_unlock_zone(void *mutex)
{
    ngx_shmtx_unlock(mutex);
}

/* ---- Turns of the event loop ------------------------------------------------------------------------- */

static void ngx_http_auth_otp_end_turn(ngx_event_t *event);

static uint64_t ngx_http_auth_otp_turn_number = 1;
static ngx_event_t ngx_http_auth_otp_turn_end;

/* Requests handled in one turn share one check of the users file. nginx runs posted events once it has handled
 * everything that was ready when the turn began. */
static uint64_t
ngx_http_auth_otp_turn(void)
{
    ngx_event_t *end = &ngx_http_auth_otp_turn_end;

    if (!end->posted) {
        end->handler = ngx_http_auth_otp_end_turn;
        end->log = ngx_cycle->log;
        ngx_post_event(end, &ngx_posted_events);
    }
    return ngx_http_auth_otp_turn_number;
}

static void
ngx_http_auth_otp_end_turn(ngx_event_t *event)
{
    (void)event;
    ngx_http_auth_otp_turn_number++;
}

/* The highest level logged here, as numbered in syslog(3). nginx's own debug level is a set of bits. */
static int
ngx_http_auth_otp_log_level(ngx_log_t *log)
{
    switch (log->log_level) {
    case NGX_LOG_EMERG:
    case NGX_LOG_ALERT:
    case NGX_LOG_CRIT:
    case NGX_LOG_ERR:
        return OTPGATE_LOG_ERROR;
    case NGX_LOG_WARN:
        return OTPGATE_LOG_WARNING;
    case NGX_LOG_NOTICE:
        return OTPGATE_LOG_NOTICE;
    case NGX_LOG_INFO:
        return OTPGATE_LOG_INFO;
    default:
        return OTPGATE_LOG_DEBUG;
    }
}

/* ---- The state of a client request ------------------------------------------------------------------ */

/* Sub-requests have the pool of their main request. */
static ngx_http_auth_otp_state_t *
ngx_http_auth_otp_known_state(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t *cln;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_auth_otp_wipe_state) {
            return cln->data;
        }
    }
    return NULL;
}

static ngx_http_auth_otp_state_t *
ngx_http_auth_otp_state(ngx_http_request_t *r)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);
    ngx_pool_cleanup_t *cln;

    if (state == NULL) {
        cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_auth_otp_state_t));
        if (cln == NULL) {
            return NULL;
        }
        state = cln->data;
        ngx_memzero(state, sizeof(*state));
        state->arrival = *ngx_timeofday();
        cln->handler = ngx_http_auth_otp_wipe_state;
    }
    return state;
}

/* An answer may come for a request already abandoned. */
static void
ngx_http_auth_otp_wipe_errand(ngx_http_auth_otp_errand_t *errand)
{
    ngx_http_auth_otp_task_t *task;

    if (errand->task) {
        task = errand->task->ctx;
        ngx_http_auth_otp_wipe(task->answer.upstream, task->answer.upstream_len);
        otpgate_response_free(task->answer.response);
        task->answer.response = NULL;
    }
}

static void
ngx_http_auth_otp_wipe_part(void *data)
{
    ngx_http_auth_otp_part_t *part = data;

    ngx_http_auth_otp_wipe_errand(&part->errand);
    ngx_http_auth_otp_wipe(&part->memory, sizeof(part->memory));
}

static void
ngx_http_auth_otp_wipe_state(void *data)
{
    ngx_http_auth_otp_state_t *state = data;

    ngx_http_auth_otp_wipe_errand(&state->errand);
    /* What Digest keeps there is as sensitive as the password. */
    if (state->is_digest) {
        ngx_http_auth_otp_wipe(&state->memory, sizeof(state->memory));
    }
    if (state->body) {
        ngx_http_auth_otp_wipe(state->body, sizeof(*state->body));
    }
}

/* ---- Deciding --------------------------------------------------------------------------------------- */

/* The realm that is set here; none is an error. NGX_DECLINED: its variables say that no login is asked for. */
static ngx_int_t
ngx_http_auth_otp_given_realm(ngx_http_request_t *r, ngx_http_auth_otp_loc_conf_t *conf, ngx_str_t *realm)
{
    ngx_http_auth_otp_main_conf_t *mcf;
    ngx_http_auth_otp_call_t call;

    if (conf->realm.lengths == NULL && conf->realm.value.len) {
        /* Without variables it was checked when it was set. */
        *realm = conf->realm.value;
        return NGX_OK;
    }
    if (ngx_http_complex_value(r, &conf->realm, realm) != NGX_OK) {
        return NGX_ERROR;
    }
    mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_call_of(&call, r);
    switch (otpgate_realm_of_request(mcf->gate, ngx_http_auth_otp_str(realm), &call)) {
    case OTPGATE_REALM_ON:
        return NGX_OK;
    case OTPGATE_REALM_OFF:
        return NGX_DECLINED;
    default:
        return NGX_ERROR;
    }
}

/* NGX_DECLINED: no login is asked for here. */
static ngx_int_t
ngx_http_auth_otp_realm(ngx_http_request_t *r, ngx_http_auth_otp_loc_conf_t *conf, ngx_str_t *realm)
{
    if (!conf->is_on || conf->is_page) {
        return NGX_DECLINED;
    }
    return ngx_http_auth_otp_given_realm(r, conf, realm);
}

static const otpgate_zone *
ngx_http_auth_otp_zone(ngx_http_auth_otp_main_conf_t *mcf)
{
    return mcf->zone ? mcf->zone->data : NULL;
}

/* A forward proxy (`tunnel_pass`, nginx 1.31.0 and later) asks by a status and headers of its own. */
static int
ngx_http_auth_otp_is_proxy(ngx_http_request_t *r)
{
#ifdef ngx_http_proxy_auth
    return ngx_http_proxy_auth(r);
#else
    (void)r;
    return 0;
#endif
}

static ngx_table_elt_t *
ngx_http_auth_otp_credentials(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state)
{
    if (state->authorization) {
        return state->authorization;
    }
#ifdef ngx_http_proxy_auth
    if (ngx_http_proxy_auth(r)) {
        return r->headers_in.proxy_authorization;
    }
#endif
    return r->headers_in.authorization;
}

/* nginx reads Basic credentials from a header that may have been taken out. */
static ngx_int_t
ngx_http_auth_otp_basic_user(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state)
{
    ngx_table_elt_t *kept = r->headers_in.authorization;
    ngx_int_t rc;

    if (state->authorization == NULL) {
        return ngx_http_auth_basic_user(r);
    }
    ngx_str_null(&r->headers_in.user);
    r->headers_in.authorization = state->authorization;
    rc = ngx_http_auth_basic_user(r);
    r->headers_in.authorization = kept;
    return rc;
}

/* What Digest signs. Of CONNECT nginx keeps a path that the client hasn't sent; the request line has what it has. */
static ngx_str_t
ngx_http_auth_otp_target(ngx_http_request_t *r)
{
    ngx_str_t target = r->unparsed_uri;
    u_char *begin, *end, *last = r->main->request_line.data + r->main->request_line.len;

    if (!ngx_http_auth_otp_is_proxy(r)) {
        return target;
    }
    begin = ngx_strlchr(r->main->request_line.data, last, ' ');
    end = begin ? ngx_strlchr(begin + 1, last, ' ') : NULL;
    if (end) {
        target.data = begin + 1;
        target.len = end - target.data;
    }
    return target;
}

/* Takes back the challenges of the place that an internal redirect came from. */
static void
ngx_http_auth_otp_take_back(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state)
{
    size_t i;

    for (i = 0; i < OTPGATE_CHALLENGES_MAX; i++) {
        if (state->challenges[i]) {
            state->challenges[i]->hash = 0;
            state->challenges[i] = NULL;
        }
    }
    r->headers_out.www_authenticate = NULL;
#ifdef ngx_http_proxy_auth
    r->headers_out.proxy_authenticate = NULL;
#endif
}

static ngx_int_t
ngx_http_auth_otp_challenge(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, ngx_str_t *realm,
    ngx_uint_t stale)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    otpgate_str challenges[OTPGATE_CHALLENGES_MAX];
    otpgate_str name;
    ngx_http_auth_otp_call_t call;
    char *buffer;
    size_t count, i;
    int is_proxy = ngx_http_auth_otp_is_proxy(r);

    ngx_http_auth_otp_take_back(r, state);
    if (!conf->has_challenges) {
        return NGX_HTTP_UNAUTHORIZED;
    }
    buffer = ngx_pnalloc(r->pool, OTPGATE_CHALLENGES_SIZE);
    if (buffer == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_auth_otp_call_of(&call, r);
    count = otpgate_challenges(mcf->gate, &conf->settings, ngx_http_auth_otp_str(realm),
                               ngx_http_auth_otp_zone(mcf), stale, &challenges, buffer, OTPGATE_CHALLENGES_SIZE,
                               &call);
    if (count == 0) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    name = ngx_http_auth_otp_text(is_proxy ? "Proxy-Authenticate" : "WWW-Authenticate");
    for (i = 0; i < count; i++) {
        state->challenges[i] = ngx_http_auth_otp_add(r, name, challenges[i]);
        if (state->challenges[i] == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
#if (nginx_version >= 1023000)
        if (i > 0) {
            state->challenges[i - 1]->next = state->challenges[i];
        }
#endif
    }
#ifdef ngx_http_proxy_auth
    if (is_proxy) {
        r->headers_out.proxy_authenticate = state->challenges[0];
        return NGX_HTTP_PROXY_AUTH_REQUIRED;
    }
#endif
    r->headers_out.www_authenticate = state->challenges[0];
    return NGX_HTTP_UNAUTHORIZED;
}

/* The connection's address after realip. A peer on a unix socket has none. */
static otpgate_address
ngx_http_auth_otp_address(ngx_http_request_t *r)
{
    struct sockaddr *sa = r->connection->sockaddr;
    otpgate_address address = { 0, { 0 } };

    switch (sa->sa_family) {
    case AF_INET:
        address.len = 4;
        ngx_memcpy(address.bytes, &((struct sockaddr_in *)sa)->sin_addr, 4);
        break;
#if (NGX_HAVE_INET6)
    case AF_INET6:
        address.len = 16;
        ngx_memcpy(address.bytes, &((struct sockaddr_in6 *)sa)->sin6_addr, 16);
        break;
#endif
    }
    return address;
}

static otpgate_str
ngx_http_auth_otp_host(ngx_http_request_t *r)
{
    return ngx_http_auth_otp_str(r->headers_in.host ? &r->headers_in.host->value : &r->headers_in.server);
}

/* What the credentials are for. */
static ngx_int_t
ngx_http_auth_otp_read_target(ngx_http_request_t *r, otpgate_login *login)
{
    if (!ngx_http_auth_otp_is_proxy(r)) {
        login->request_line = ngx_http_auth_otp_str(&r->main->request_line);
    }
    login->host = ngx_http_auth_otp_host(r);
    login->path = ngx_http_auth_otp_str(&r->uri);
    return ngx_http_auth_otp_read_headers(r, ngx_http_auth_otp_target_headers, login);
}

/* What a browser says. */
static ngx_int_t
ngx_http_auth_otp_read_browser(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, ngx_str_t *realm,
    otpgate_login *login)
{
    login->realm = ngx_http_auth_otp_str(realm);
    login->host = ngx_http_auth_otp_host(r);
    login->method = ngx_http_auth_otp_str(&r->method_name);
    login->target = ngx_http_auth_otp_str(&r->unparsed_uri);
    if (ngx_http_auth_otp_read_headers(r, ngx_http_auth_otp_browser_headers, login) != NGX_OK) {
        return NGX_ERROR;
    }
    if (state->cookie.data) {
        /* Our cookies have been taken out for another place of this request. */
        login->cookie = ngx_http_auth_otp_str(&state->cookie);
    }
    return NGX_OK;
}

/* What every login has. */
static void
ngx_http_auth_otp_begin(ngx_http_request_t *r, otpgate_memory *memory, ngx_http_auth_otp_call_t *call,
    otpgate_login *login)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);

    ngx_memzero(login, sizeof(*login));
    login->settings = &conf->settings;
    login->log_level = ngx_http_auth_otp_log_level(r->connection->log);
    login->has_tls = ngx_http_auth_otp_has_tls(r);
    login->is_part = r != r->main;
    login->address = ngx_http_auth_otp_address(r);
    login->memory = memory;
    login->turn = ngx_http_auth_otp_turn();
    login->request = call;
}

/* NGX_DECLINED: the request has no credentials of a kind asked for here. */
static ngx_int_t
ngx_http_auth_otp_read(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, ngx_str_t *realm,
    otpgate_memory *memory, ngx_http_auth_otp_call_t *call, otpgate_login *login)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_table_elt_t *credentials = ngx_http_auth_otp_credentials(r, state);
    ngx_str_t header = ngx_null_string;
    ngx_str_t target;
    ngx_int_t rc = NGX_DECLINED;

    if (state->replaced.len) {
        header = state->replaced;
    }
    else if (credentials) {
        header = credentials->value;
    }
    ngx_http_auth_otp_begin(r, memory, call, login);
    if (conf->has_basic && state->replaced.len == 0) {
        rc = ngx_http_auth_otp_basic_user(r, state);
    }
    /* Credentials that nginx recognised as Basic needn't be checked again. */
    login->scheme = rc == NGX_OK ? OTPGATE_BASIC : otpgate_scheme(&conf->settings, ngx_http_auth_otp_str(&header));
    switch (login->scheme) {
    case OTPGATE_DIGEST:
        login->authorization = ngx_http_auth_otp_str(&header);
        login->realm = ngx_http_auth_otp_str(realm);
        /* An error page changes r->method_name, the request line stays. */
        login->method = ngx_http_auth_otp_str(&r->main->request_line);
        target = ngx_http_auth_otp_target(r);
        login->target = ngx_http_auth_otp_str(&target);
        login->zone = ngx_http_auth_otp_zone(ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module));
        return NGX_OK;
    case OTPGATE_BASIC:
        if (rc == NGX_OK) {
            login->user = ngx_http_auth_otp_str(&r->headers_in.user);
            login->password = ngx_http_auth_otp_str(&r->headers_in.passwd);
            if (otpgate_wants_target(login) && ngx_http_auth_otp_read_target(r, login) != NGX_OK) {
                return NGX_ERROR;
            }
            break;
        }
        if (rc != NGX_DECLINED) {
            return rc;
        }
        /* fall through */
    default:
        if (!conf->wants_cookie) {
            return NGX_DECLINED;
        }
        login->scheme = OTPGATE_COOKIE;
    }
    return conf->wants_cookie ? ngx_http_auth_otp_read_browser(r, state, realm, login) : NGX_OK;
}

static void
ngx_http_auth_otp_decide(void *data, ngx_log_t *log)
{
    ngx_http_auth_otp_task_t *task = data;

    (void)log;
    otpgate_decide(task->gate, &task->login, &task->answer);
}

static void
ngx_http_auth_otp_make_page(void *data, ngx_log_t *log)
{
    ngx_http_auth_otp_task_t *task = data;

    (void)log;
    otpgate_page(task->gate, &task->login, &task->answer);
}

static void
ngx_http_auth_otp_decided(ngx_event_t *event)
{
    ngx_http_auth_otp_task_t *task = event->data;
    ngx_http_request_t *r = task->r;
    ngx_connection_t *c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (!event->complete) {
        /* The timer: the thread is still working, and a graceful exit has to keep waiting. */
        event->timedout = 0;
        ngx_http_auth_otp_event(r, OTPGATE_EVENT_OVERDUE, NULL);
        ngx_add_timer(event, OTPGATE_LOGIN_OVERDUE);
        return;
    }
    if (event->timer_set) {
        ngx_del_timer(event);
    }
    ngx_http_auth_otp_write_lines(&task->call, c->log);
    ngx_http_auth_otp_wipe(task->strings, task->size);
    task->errand->is_out = 0;
    task->errand->is_answered = 1;
    r->main->blocked--;
    r->aio = 0;

#if (nginx_version >= 1025004)
    if (r->main->terminated) {
        c->write->handler(c->write);
        return;
    }
#endif
    /* Runs the phases again, or closes a request abandoned meanwhile. */
    r->write_event_handler(r);
    ngx_http_run_posted_requests(c);
}

/* Has a pool thread decide, by `handler`. It gets nothing that the loop might change meanwhile. */
static ngx_int_t
ngx_http_auth_otp_post(ngx_http_request_t *r, ngx_http_auth_otp_errand_t *errand, const otpgate_login *login,
    void (*handler)(void *, ngx_log_t *))
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_thread_task_t *task = ngx_thread_task_alloc(r->pool, sizeof(ngx_http_auth_otp_task_t));
    ngx_http_auth_otp_task_t *ctx;

    if (task == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ctx = task->ctx;
    ctx->r = r;
    ctx->errand = errand;
    ctx->gate = mcf->gate;
    ctx->call.log = NULL;
    ctx->call.is_test = 0;
    ctx->call.lines = NULL;
    ctx->call.last = &ctx->call.lines;
    ctx->login = *login;
    ctx->login.request = &ctx->call;
    ctx->size = otpgate_login_size(login);
    ctx->strings = ngx_pnalloc(r->pool, ctx->size + 1);
    if (ctx->strings == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    otpgate_login_copy(&ctx->login, (char *)ctx->strings);
    task->handler = handler;
    task->event.data = ctx;
    task->event.handler = ngx_http_auth_otp_decided;
    task->event.log = r->connection->log;

    if (ngx_thread_task_post(conf->pool, task) != NGX_OK) {
        ngx_http_auth_otp_wipe(ctx->strings, ctx->size);
        ngx_http_auth_otp_event(r, OTPGATE_EVENT_QUEUE_FULL, NULL);
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }
    /* For graceful exits, which wait for timers; the task ends by itself. */
    ngx_add_timer(&task->event, OTPGATE_LOGIN_OVERDUE);

    errand->task = task;
    errand->is_out = 1;
    r->main->blocked++;
    r->aio = 1;
    return NGX_AGAIN;
}

/* The timer has fired, or the connection is writable. */
static void
ngx_http_auth_otp_waited(ngx_http_request_t *r)
{
    ngx_event_t *wev = r->connection->write;

    if (wev->delayed) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }
        return;
    }
    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

/* A refusal goes out when the library says. NGX_AGAIN: not yet. */
static ngx_int_t
ngx_http_auth_otp_wait(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, otpgate_answer *answer)
{
    ngx_http_auth_otp_loc_conf_t *conf;
    ngx_time_t *now, *arrival;
    ngx_msec_int_t elapsed;
    uint64_t rest;

    if ((answer->verdict != OTPGATE_DENIED && answer->verdict != OTPGATE_UNKNOWN) || answer->result[0] == '\0'
        || state->has_waited)
    {
        return NGX_OK;
    }
    conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    now = ngx_timeofday();
    arrival = &state->arrival;
    elapsed = (ngx_msec_int_t)((now->sec - arrival->sec) * 1000)
              + ((ngx_msec_int_t)now->msec - (ngx_msec_int_t)arrival->msec);
    rest = otpgate_refusal_rest(otpgate_settings_refusal_time(&conf->settings), ngx_max(elapsed, 0));
    if (rest == 0) {
        return NGX_OK;
    }
    state->has_waited = 1;
    state->waiting = ngx_palloc(r->pool, sizeof(*answer));
    if (state->waiting == NULL || ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }
    *state->waiting = *answer;
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_auth_otp_waited;
    r->connection->write->delayed = 1;
    ngx_add_timer(r->connection->write, (ngx_msec_t)rest);
    return NGX_AGAIN;
}

/* Credentials that can't be judged; once per client request. */
static void
ngx_http_auth_otp_log_unfit(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_table_elt_t *credentials = ngx_http_auth_otp_credentials(r, state);
    ngx_http_auth_otp_call_t call;

    if (credentials && !state->is_unfit) {
        state->is_unfit = 1;
        ngx_http_auth_otp_call_of(&call, r);
        otpgate_unfit(mcf->gate, &conf->settings, ngx_http_auth_otp_str(&credentials->value), &call);
    }
}

static ngx_int_t
ngx_http_auth_otp_access(ngx_http_request_t *r)
{
    ngx_http_auth_otp_main_conf_t *mcf;
    ngx_http_auth_otp_loc_conf_t *conf;
    ngx_http_auth_otp_state_t *state;
    ngx_http_auth_otp_task_t *task;
    ngx_http_auth_otp_call_t call;
    otpgate_login login;
    otpgate_answer answer, *waited;
    ngx_str_t realm;
    ngx_int_t rc;

    conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    rc = ngx_http_auth_otp_realm(r, conf, &realm);
    if (rc == NGX_DECLINED) {
        return NGX_DECLINED;
    }
    state = ngx_http_auth_otp_state(r);
    if (rc != NGX_OK || state == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (state->errand.is_out) {
        /* nginx runs the phases whenever the connection is writable. */
        return NGX_AGAIN;
    }
    if (state->waiting) {
        waited = state->waiting;
        state->waiting = NULL;
        return ngx_http_auth_otp_carry_out(r, state, &realm, waited);
    }
    if (state->errand.is_answered) {
        state->errand.is_answered = 0;
        task = state->errand.task->ctx;
        return ngx_http_auth_otp_carry_out(r, state, &realm, &task->answer);
    }

    state->is_granted = 0;
    state->response = NULL;
    ngx_http_auth_otp_call_of(&call, r);
    rc = ngx_http_auth_otp_read(r, state, &realm, &state->memory, &call, &login);
    mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    if (rc == NGX_DECLINED) {
        ngx_http_auth_otp_log_unfit(r, state);
        return ngx_http_auth_otp_challenge(r, state, &realm, 0);
    }
    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    state->is_digest = login.scheme == OTPGATE_DIGEST;
    state->has_credentials = login.scheme != OTPGATE_COOKIE;
    if (otpgate_decide_now(mcf->gate, &login, &answer) == OTPGATE_WOULD_BLOCK) {
        return ngx_http_auth_otp_post(r, &state->errand, &login, ngx_http_auth_otp_decide);
    }
    return ngx_http_auth_otp_carry_out(r, state, &realm, &answer);
}

static ngx_uint_t
ngx_http_auth_otp_begins(const ngx_str_t *name, const char *begin)
{
    return name->len >= ngx_strlen(begin) && ngx_strncmp(name->data, begin, ngx_strlen(begin)) == 0;
}

/* Variables that were read before may say something else now. */
static void
ngx_http_auth_otp_forget_variables(ngx_http_request_t *r)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);
    ngx_http_variable_t *known = cmcf->variables.elts;
    ngx_uint_t i;

    for (i = 0; i < cmcf->variables.nelts; i++) {
        if (ngx_http_auth_otp_is_called(&known[i].name, "remote_user")
            || ngx_http_auth_otp_is_called(&known[i].name, "http_authorization")
            || ngx_http_auth_otp_is_called(&known[i].name, "http_cookie")
            || ngx_http_auth_otp_begins(&known[i].name, "cookie_"))
        {
            r->variables[i].valid = 0;
            r->variables[i].not_found = 0;
        }
    }
}

/* Carries out a grant. */
static ngx_int_t
ngx_http_auth_otp_let_in(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, otpgate_answer *answer)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    u_char *text = ngx_pnalloc(r->pool, answer->user_len + answer->upstream_len + 1);
    ngx_table_elt_t *credentials = ngx_http_auth_otp_credentials(r, state);
    ngx_str_t *header;

    if (text == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    state->user.data = text;
    state->user.len = answer->user_len;
    text = ngx_cpymem(text, answer->user, answer->user_len);

    if (answer->upstream_len && credentials) {
        header = &credentials->value;
        if (state->is_digest) {
            /* What nginx parsed from the old header doesn't apply to the new one. */
            ngx_str_null(&r->headers_in.user);
            state->replaced = *header;
        }
        ngx_memcpy(text, answer->upstream, answer->upstream_len);
        text[answer->upstream_len] = '\0';
        header->data = text;
        header->len = answer->upstream_len;
        /* Whatever is behind us is meant to see this one. */
        state->has_credentials = 0;
    }
    state->is_granted = 1;
    if (conf->wants_cookie) {
        ngx_http_auth_otp_forget_variables(r);
    }
    return NGX_OK;
}

/* A refusal that says when to retry. */
static ngx_int_t
ngx_http_auth_otp_refuse_for_a_while(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state,
    otpgate_answer *answer, ngx_int_t status)
{
    otpgate_str seconds;
    u_char *value;

    /* That of the place that an internal redirect came from. */
    if (state->retry_after) {
        state->retry_after->hash = 0;
    }
    value = ngx_pnalloc(r->pool, NGX_INT32_LEN);
    if (value == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    seconds.data = value;
    seconds.len = ngx_sprintf(value, "%uD", answer->retry_after) - value;
    state->retry_after = ngx_http_auth_otp_add(r, ngx_http_auth_otp_text("Retry-After"), seconds);
    return state->retry_after ? status : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/* ---- What is sent to a browser ----------------------------------------------------------------------- */

static void
ngx_http_auth_otp_release(void *data)
{
    ngx_http_auth_otp_response_t *own = data;

    otpgate_response_free(own->response);
}

/* Makes the answer's response, if it has one, one of the request, which releases it. */
static ngx_int_t
ngx_http_auth_otp_adopt(ngx_http_request_t *r, otpgate_answer *answer, ngx_http_auth_otp_response_t **adopted)
{
    ngx_http_auth_otp_response_t *own;
    ngx_pool_cleanup_t *cln;

    if (answer->response == NULL) {
        return NGX_OK;
    }
    cln = ngx_pool_cleanup_add(r->pool, sizeof(*own));
    if (cln == NULL) {
        otpgate_response_free(answer->response);
        answer->response = NULL;
        return NGX_ERROR;
    }
    own = cln->data;
    own->response = answer->response;
    own->next = NULL;
    cln->handler = ngx_http_auth_otp_release;
    answer->response = NULL;
    *adopted = own;
    return NGX_OK;
}

/* Whether nginx sends such a header by itself, for a body it knows. */
static ngx_uint_t
ngx_http_auth_otp_is_of_body(const otpgate_str *name)
{
    ngx_str_t text = { name->len, (u_char *)name->data };

    return ngx_http_auth_otp_is_called(&text, "Content-Type") || ngx_http_auth_otp_is_called(&text, "Content-Length");
}

static ngx_uint_t
ngx_http_auth_otp_has(ngx_http_request_t *r, const otpgate_str *name, const otpgate_str *value)
{
    ngx_http_auth_otp_walk_t walk = ngx_http_auth_otp_walk(&r->headers_out.headers);
    ngx_table_elt_t *header;

    while ((header = ngx_http_auth_otp_next(&walk)) != NULL) {
        if (header->hash && header->key.len == name->len && header->value.len == value->len
            && ngx_strncmp(header->key.data, name->data, name->len) == 0
            && ngx_memcmp(header->value.data, value->data, value->len) == 0)
        {
            return 1;
        }
    }
    return 0;
}

/* Puts a response's headers into the answer, each once. */
static ngx_int_t
ngx_http_auth_otp_add_headers(ngx_http_request_t *r, const otpgate_response *response)
{
    otpgate_str name, value;
    size_t i;

    for (i = 0; otpgate_response_header(response, i, &name, &value); i++) {
        if (!ngx_http_auth_otp_is_of_body(&name) && !ngx_http_auth_otp_has(r, &name, &value)
            && ngx_http_auth_otp_add(r, name, value) == NULL)
        {
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}

static ngx_http_output_header_filter_pt ngx_http_auth_otp_next_header_filter;

/*
 * Only where cookies are used. Headers put into the answer any earlier would be lost when nginx starts it over (412, or
 * after early hints of an upstream).
 */
static ngx_int_t
ngx_http_auth_otp_header_filter(ngx_http_request_t *r)
{
    ngx_http_auth_otp_state_t *state = r == r->main ? ngx_http_auth_otp_known_state(r) : NULL;
    ngx_http_auth_otp_response_t *own;

    for (own = state ? state->added : NULL; own; own = own->next) {
        if (ngx_http_auth_otp_add_headers(r, own->response) != NGX_OK) {
            return NGX_ERROR;
        }
    }
    return ngx_http_auth_otp_next_header_filter(r);
}

/*
 * The response to send, if there is one. Of any other, the headers are added to what is answered: to whatever that is if
 * `status` is 0, else to what nginx or error_page has for that status.
 */
static ngx_http_auth_otp_response_t *
ngx_http_auth_otp_to_send(ngx_http_auth_otp_state_t *state, int *status)
{
    ngx_http_auth_otp_response_t *own = state->response;

    state->response = NULL;
    *status = own ? otpgate_response_status(own->response) : 0;
    if (own == NULL || (*status && (*status < NGX_HTTP_BAD_REQUEST || otpgate_response_body(own->response).len))) {
        return own;
    }
    own->next = state->added;
    state->added = own;
    return NULL;
}

/* Sends exactly this, whatever nginx would make of the status. */
static ngx_int_t
ngx_http_auth_otp_send(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, const otpgate_response *response)
{
    otpgate_str body = otpgate_response_body(response);
    otpgate_str name, value;
    ngx_chain_t out;
    ngx_buf_t *buf;
    ngx_int_t rc;
    size_t i;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }
    ngx_http_auth_otp_take_back(r, state);
    ngx_http_clear_accept_ranges(r);
    ngx_http_clear_last_modified(r);
    ngx_http_clear_etag(r);
    r->disable_not_modified = 1;
    /* That of a page which an error has led to is ours as well. */
    r->err_status = 0;
    r->headers_out.status = otpgate_response_status(response);
    r->headers_out.status_line.len = 0;
    r->headers_out.content_length_n = body.len;
    for (i = 0; otpgate_response_header(response, i, &name, &value); i++) {
        if (ngx_http_auth_otp_is_of_body(&name) && name.len == sizeof("Content-Type") - 1) {
            /* With its charset it is none that `charset`, `ssi` or `sub_filter` would work on. */
            r->headers_out.content_type.len = value.len;
            r->headers_out.content_type.data = (u_char *)value.data;
            r->headers_out.content_type_len = value.len;
            r->headers_out.content_type_lowcase = NULL;
        }
    }
    /* nginx isn't told of Location: it would make an absolute one, by a scheme that a proxy in front may not have used. */
    if (ngx_http_auth_otp_add_headers(r, response) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }
    buf = ngx_calloc_buf(r->pool);
    if (buf == NULL) {
        return NGX_ERROR;
    }
    buf->pos = (u_char *)body.data;
    buf->last = buf->pos + body.len;
    buf->memory = body.len > 0;
    buf->last_buf = 1;
    buf->last_in_chain = 1;
    out.buf = buf;
    out.next = NULL;
    return ngx_http_output_filter(r, &out);
}

/* Carries out the library's decision, or has it wait. */
static ngx_int_t
ngx_http_auth_otp_carry_out(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, ngx_str_t *realm,
    otpgate_answer *answer)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_response_t *own;
    ngx_int_t rc;
    int status;

    if (ngx_http_auth_otp_adopt(r, answer, &state->response) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    /* A cookie is no guess. */
    rc = state->has_credentials ? ngx_http_auth_otp_wait(r, state, answer) : NGX_OK;
    if (rc != NGX_OK) {
        return rc == NGX_AGAIN ? rc : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (answer->result[0]) {
        state->result = answer->result;
    }
    else if (!state->has_credentials && conf->has_challenges && answer->verdict != OTPGATE_GRANTED) {
        ngx_http_auth_otp_log_unfit(r, state);
    }
    ngx_str_null(&state->user);

    own = ngx_http_auth_otp_to_send(state, &status);
    if (own) {
        ngx_http_auth_otp_wipe(answer->upstream, answer->upstream_len);
        ngx_http_finalize_request(r, ngx_http_auth_otp_send(r, state, own->response));
        return NGX_DONE;
    }
    switch (status ? OTPGATE_DENIED : answer->verdict) {
    case OTPGATE_GRANTED:
        rc = ngx_http_auth_otp_let_in(r, state, answer);
        break;
    case OTPGATE_ERROR:
        rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        break;
    case OTPGATE_BUSY:
        rc = ngx_http_auth_otp_refuse_for_a_while(r, state, answer, NGX_HTTP_SERVICE_UNAVAILABLE);
        break;
    case OTPGATE_THROTTLED:
        rc = ngx_http_auth_otp_refuse_for_a_while(r, state, answer, NGX_HTTP_TOO_MANY_REQUESTS);
        break;
    default:
        /* A status without a body: nginx makes one, and error_page may. */
        rc = status ? status : ngx_http_auth_otp_challenge(r, state, realm, answer->stale);
    }
    ngx_http_auth_otp_wipe(answer->upstream, answer->upstream_len);
    return rc;
}

/* ---- Other phases of a request ---------------------------------------------------------------------- */

/*
 * In its own phase, because in the access phase a refusal isn't final: `satisfy any` would let in anyone whom
 * `allow` lets in.
 */
static ngx_int_t
ngx_http_auth_otp_preaccess(ngx_http_request_t *r)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_str_t realm;

    if (!(conf->is_on || conf->is_page) || !otpgate_settings_require_tls(&conf->settings)
        || (!conf->is_page && ngx_http_auth_otp_realm(r, conf, &realm) == NGX_DECLINED)
        || ngx_http_auth_otp_has_tls(r))
    {
        return NGX_DECLINED;
    }
    ngx_http_auth_otp_event(r, OTPGATE_EVENT_WITHOUT_TLS, NULL);
    return NGX_HTTP_FORBIDDEN;
}

/* What a part has for the browser goes out with the main request's answer, if that isn't out yet. */
static ngx_int_t
ngx_http_auth_otp_add_of_part(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, otpgate_answer *answer)
{
    ngx_http_auth_otp_response_t *own = NULL;

    if (ngx_http_auth_otp_adopt(r, answer, &own) != NGX_OK) {
        return NGX_ERROR;
    }
    if (own && otpgate_response_status(own->response) == 0) {
        own->next = state->added;
        state->added = own;
    }
    return NGX_OK;
}

/* Whether the main request's grant holds for a sub-request here. NGX_AGAIN: a thread is deciding. */
static ngx_int_t
ngx_http_auth_otp_ask_part(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, ngx_str_t *realm)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_part_t *part = ngx_http_get_module_ctx(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_call_t call;
    ngx_http_auth_otp_task_t *task;
    ngx_pool_cleanup_t *cln;
    otpgate_login login;
    otpgate_memory memory;
    otpgate_answer answer;
    ngx_int_t rc;
    int verdict;

    if (part) {
        if (part->errand.is_out) {
            return NGX_AGAIN;
        }
        task = part->errand.task->ctx;
        if (ngx_http_auth_otp_add_of_part(r, state, &task->answer) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
        return task->answer.verdict == OTPGATE_GRANTED ? NGX_OK : NGX_HTTP_FORBIDDEN;
    }
    ngx_http_auth_otp_call_of(&call, r);
    memory = state->memory;
    if (ngx_http_auth_otp_read(r, state, realm, &memory, &call, &login) != NGX_OK) {
        return NGX_HTTP_FORBIDDEN;
    }
    verdict = otpgate_decide_now(mcf->gate, &login, &answer);
    ngx_http_auth_otp_wipe(answer.upstream, answer.upstream_len);
    if (ngx_http_auth_otp_add_of_part(r, state, &answer) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (login.scheme == OTPGATE_DIGEST) {
        ngx_http_auth_otp_wipe(&memory, sizeof(memory));
    }
    if (verdict != OTPGATE_WOULD_BLOCK) {
        return verdict == OTPGATE_GRANTED ? NGX_OK : NGX_HTTP_FORBIDDEN;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(*part));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    part = cln->data;
    ngx_memzero(part, sizeof(*part));
    part->memory = state->memory;
    cln->handler = ngx_http_auth_otp_wipe_part;
    login.memory = &part->memory;
    rc = ngx_http_auth_otp_post(r, &part->errand, &login, ngx_http_auth_otp_decide);
    if (rc == NGX_AGAIN) {
        ngx_http_set_ctx(r, part, ngx_http_auth_otp_module);
    }
    return rc;
}

/* What a Cookie header becomes once ours are taken out; without text: nothing. NULL: no memory. */
static ngx_str_t *
ngx_http_auth_otp_others(ngx_http_request_t *r, const ngx_table_elt_t *header, ngx_str_t *others)
{
    others->data = ngx_pnalloc(r->pool, header->value.len + 1);
    if (others->data == NULL) {
        return NULL;
    }
    others->len = otpgate_strip(ngx_http_auth_otp_str(&header->value), (char *)others->data);
    return others;
}

/* Has nginx find the cookies that are left. */
static ngx_int_t
ngx_http_auth_otp_link_cookies(ngx_http_request_t *r)
{
    ngx_http_auth_otp_walk_t walk = ngx_http_auth_otp_walk(&r->headers_in.headers);
    ngx_table_elt_t *header, **link;

#if (nginx_version >= 1023000)
    link = &r->headers_in.cookie;
#else
    if (ngx_array_init(&r->headers_in.cookies, r->pool, 1, sizeof(ngx_table_elt_t *)) != NGX_OK) {
        return NGX_ERROR;
    }
#endif
    while ((header = ngx_http_auth_otp_next(&walk)) != NULL) {
        if (!ngx_http_auth_otp_is_called(&header->key, "Cookie")) {
            continue;
        }
#if (nginx_version >= 1023000)
        *link = header;
        link = &header->next;
#else
        link = ngx_array_push(&r->headers_in.cookies);
        if (link == NULL) {
            return NGX_ERROR;
        }
        *link = header;
#endif
    }
#if (nginx_version >= 1023000)
    *link = NULL;
#endif
    return NGX_OK;
}

/*
 * Takes out of the request what is ours: cookies, and credentials that were judged. What passes requests on
 * walks over r->headers_in.headers, which get a new list, since others have pointers into the old one.
 */
static ngx_int_t
ngx_http_auth_otp_strip(ngx_http_request_t *r)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);
    ngx_uint_t has_credentials = state && state->has_credentials;
    ngx_uint_t is_changed = 0;
    ngx_http_auth_otp_walk_t walk = ngx_http_auth_otp_walk(&r->headers_in.headers);
    ngx_table_elt_t *header, *kept, *authorization = NULL;
    ngx_str_t others;
    ngx_list_t list;
    otpgate_login before;

    if (ngx_list_init(&list, r->pool, 20, sizeof(ngx_table_elt_t)) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    while ((header = ngx_http_auth_otp_next(&walk)) != NULL) {
        others = header->value;
        if (has_credentials && ngx_http_auth_otp_is_called(&header->key, "Authorization")) {
            authorization = authorization ? authorization : header;
            is_changed = 1;
            continue;
        }
        if (ngx_http_auth_otp_is_called(&header->key, "Cookie")) {
            if (ngx_http_auth_otp_others(r, header, &others) == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }
            is_changed |= others.len != header->value.len;
            if (others.len == 0) {
                continue;
            }
        }
        kept = ngx_list_push(&list);
        if (kept == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
        *kept = *header;
        kept->value = others;
    }
    if (!is_changed) {
        return NGX_DECLINED;
    }

    state = ngx_http_auth_otp_state(r);
    if (state == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    /* Other places of this request are decided by what the client sent. */
    if (state->cookie.data == NULL) {
        ngx_memzero(&before, sizeof(before));
        if (ngx_http_auth_otp_read_headers(r, ngx_http_auth_otp_browser_headers, &before) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
        state->cookie.len = before.cookie.len;
        state->cookie.data = (u_char *)before.cookie.data;
    }
    if (authorization) {
        state->authorization = authorization;
        r->headers_in.authorization = NULL;
        ngx_str_null(&r->headers_in.user);
    }
    r->headers_in.headers = list;
    if (list.last == &list.part) {
        r->headers_in.headers.last = &r->headers_in.headers.part;
    }
    if (ngx_http_auth_otp_link_cookies(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    ngx_http_auth_otp_forget_variables(r);
    return NGX_DECLINED;
}

/*
 * nginx runs no access phase for sub-requests. One that comes here may be served if the client's own request was
 * granted by us and that grant holds here too; saying nothing would be an open door.
 */
static ngx_int_t
ngx_http_auth_otp_precontent(ngx_http_request_t *r)
{
    ngx_http_auth_otp_loc_conf_t *conf;
    ngx_http_auth_otp_state_t *state;
    ngx_str_t realm;
    ngx_int_t rc;

    conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    if (r == r->main) {
        return conf->strips ? ngx_http_auth_otp_strip(r) : NGX_DECLINED;
    }
    rc = ngx_http_auth_otp_realm(r, conf, &realm);
    if (rc == NGX_DECLINED) {
        return conf->strips ? ngx_http_auth_otp_strip(r) : NGX_DECLINED;
    }
    state = ngx_http_auth_otp_known_state(r);
    if (rc == NGX_OK && state && state->is_granted) {
        rc = ngx_http_auth_otp_ask_part(r, state, &realm);
        if (rc == NGX_OK) {
            return conf->strips ? ngx_http_auth_otp_strip(r) : NGX_DECLINED;
        }
        if (rc != NGX_HTTP_FORBIDDEN) {
            return rc;
        }
    }
    ngx_http_auth_otp_event(r, OTPGATE_EVENT_PART_REFUSED, &r->uri);
    return NGX_HTTP_FORBIDDEN;
}

/* ---- The page to log in ------------------------------------------------------------------------------- */

/* Goes on later; the request is kept meanwhile. */
static ngx_int_t
ngx_http_auth_otp_pause(ngx_http_request_t *r)
{
    r->main->count++;
    return NGX_DONE;
}

/* The thread's end runs the phases again, and so this handler. */
static ngx_int_t
ngx_http_auth_otp_await_thread(ngx_http_request_t *r)
{
    r->write_event_handler = ngx_http_core_run_phases;
    return ngx_http_auth_otp_pause(r);
}

/* Takes what has been read of the body. */
static ngx_int_t
ngx_http_auth_otp_take_body(ngx_http_request_t *r, ngx_http_auth_otp_body_t *body, ngx_uint_t is_ours)
{
    /* NULL: it was discarded before an internal redirect led here. */
    ngx_chain_t *part = r->request_body ? r->request_body->bufs : NULL;
    ngx_buf_t *buf;
    size_t len;

    for ( /* void */ ; part; part = part->next) {
        buf = part->buf;
        if (buf->in_file && !ngx_buf_in_memory(buf)) {
            /* Another module has read it, as one of this length. */
            return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        len = ngx_buf_in_memory(buf) ? buf->last - buf->pos : 0;
        if (len > OTPGATE_BODY_MAX - body->len) {
            return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
        }
        if (len == 0) {
            continue;
        }
        ngx_memcpy(body->text + body->len, buf->pos, len);
        body->len += len;
        if (is_ours) {
            ngx_http_auth_otp_wipe(buf->pos, len);
            buf->pos = buf->last;
        }
    }
    if (is_ours && r->request_body) {
        r->request_body->bufs = NULL;
    }
    return NGX_OK;
}

/* Some more of the body is there, or all of it. */
static void
ngx_http_auth_otp_read_body(ngx_http_request_t *r)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);
    ngx_int_t rc;

    if (state == NULL || state->body == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    for ( ;; ) {
        rc = ngx_http_auth_otp_take_body(r, state->body, 1);
        if (rc != NGX_OK) {
            /* As nginx does with one that exceeds client_max_body_size. */
            r->lingering_close = 1;
            ngx_http_finalize_request(r, rc);
            return;
        }
        if (!r->reading_body) {
            break;
        }
        rc = ngx_http_read_unbuffered_request_body(r);
        if (rc == NGX_ERROR || rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            ngx_http_finalize_request(r, rc);
            return;
        }
        if (rc == NGX_AGAIN && r->request_body->bufs == NULL) {
            r->read_event_handler = ngx_http_auth_otp_read_body;
            return;
        }
    }
    r->read_event_handler = ngx_http_block_reading;
    /* From now on, how long it takes is ours, and no longer the client's to say. */
    state->arrival = *ngx_timeofday();
    ngx_http_core_run_phases(r);
}

/* NGX_OK: the body is there. NGX_DONE: it is being read. */
static ngx_int_t
ngx_http_auth_otp_get_body(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state)
{
    ngx_int_t rc;

    if (r->headers_in.content_length_n > OTPGATE_BODY_MAX) {
        r->expect_tested = 1;
        (void)ngx_http_discard_request_body(r);
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }
    state->body = ngx_pcalloc(r->pool, sizeof(*state->body));
    if (state->body == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (r->request_body) {
        /* Of another module, which may need it still. */
        return ngx_http_auth_otp_take_body(r, state->body, 0);
    }
    /* Piece by piece: what nginx gathers it may write to a file. */
    r->request_body_no_buffering = 1;
    rc = ngx_http_read_client_request_body(r, ngx_http_auth_otp_read_body);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

/* Sends the page that the library has made, once it may go out. */
static ngx_int_t
ngx_http_auth_otp_show(ngx_http_request_t *r, ngx_http_auth_otp_state_t *state, otpgate_answer *answer)
{
    ngx_http_auth_otp_response_t *own;
    ngx_int_t rc;
    int status;

    if (ngx_http_auth_otp_adopt(r, answer, &state->response) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    rc = ngx_http_auth_otp_wait(r, state, answer);
    if (rc != NGX_OK) {
        return rc == NGX_AGAIN ? ngx_http_auth_otp_pause(r) : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (answer->result[0]) {
        state->result = answer->result;
    }
    if (answer->verdict == OTPGATE_GRANTED && answer->user_len) {
        state->user.data = ngx_pnalloc(r->pool, answer->user_len);
        if (state->user.data == NULL) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
        ngx_memcpy(state->user.data, answer->user, answer->user_len);
        state->user.len = answer->user_len;
    }
    ngx_http_auth_otp_wipe(answer->upstream, answer->upstream_len);
    own = ngx_http_auth_otp_to_send(state, &status);
    if (own) {
        return ngx_http_auth_otp_send(r, state, own->response);
    }
    return status ? status : NGX_HTTP_INTERNAL_SERVER_ERROR;
}

/*
 * The content of `auth_otp_login`. Runs again when the body is there, when a thread has made the page, when a refusal
 * may go out, and whenever nginx runs the phases meanwhile.
 */
static ngx_int_t
ngx_http_auth_otp_page(ngx_http_request_t *r)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_http_get_module_loc_conf(r, ngx_http_auth_otp_module);
    ngx_http_auth_otp_state_t *state;
    ngx_http_auth_otp_task_t *task;
    ngx_http_auth_otp_call_t call;
    otpgate_answer *waited;
    otpgate_login login;
    ngx_str_t realm;
    ngx_int_t rc;

    if (r != r->main) {
        ngx_http_auth_otp_event(r, OTPGATE_EVENT_PART_REFUSED, &r->uri);
        return NGX_HTTP_FORBIDDEN;
    }
    state = ngx_http_auth_otp_state(r);
    if (state == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (state->errand.is_out) {
        return ngx_http_auth_otp_await_thread(r);
    }
    if (state->waiting) {
        waited = state->waiting;
        state->waiting = NULL;
        return ngx_http_auth_otp_show(r, state, waited);
    }
    if (state->errand.is_answered) {
        state->errand.is_answered = 0;
        task = state->errand.task->ctx;
        return ngx_http_auth_otp_show(r, state, &task->answer);
    }

    rc = ngx_http_auth_otp_given_realm(r, conf, &realm);
    if (rc != NGX_OK) {
        return rc == NGX_DECLINED ? NGX_HTTP_NOT_FOUND : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!(r->method & NGX_HTTP_POST)) {
        rc = ngx_http_discard_request_body(r);
    }
    else if (state->body == NULL) {
        rc = ngx_http_auth_otp_get_body(r, state);
    }
    if (rc != NGX_OK) {
        return rc;
    }
    state->is_granted = 0;
    state->response = NULL;
    ngx_str_null(&state->user);
    ngx_http_auth_otp_call_of(&call, r);
    ngx_http_auth_otp_begin(r, &state->memory, &call, &login);
    if (ngx_http_auth_otp_read_browser(r, state, &realm, &login) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (state->body) {
        login.body.len = state->body->len;
        login.body.data = state->body->text;
    }
    rc = ngx_http_auth_otp_post(r, &state->errand, &login, ngx_http_auth_otp_make_page);
    if (state->body) {
        ngx_http_auth_otp_wipe(state->body, sizeof(*state->body));
    }
    return rc == NGX_AGAIN ? ngx_http_auth_otp_await_thread(r) : rc;
}

/* ---- Variables ----------------------------------------------------------------------------------------- */

static ngx_int_t
ngx_http_auth_otp_result_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);

    (void)data;
    if (state == NULL || state->result == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }
    v->data = (u_char *)state->result;
    v->len = ngx_strlen(state->result);
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    return NGX_OK;
}

/* Asked for while the client is being answered, when no thread is deciding. */
static ngx_int_t
ngx_http_auth_otp_paper_next_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);
    uint32_t next = state && !state->errand.is_out ? otpgate_paper_next(&state->memory) : 0;

    (void)data;
    if (next == 0) {
        v->not_found = 1;
        return NGX_OK;
    }
    v->data = ngx_pnalloc(r->pool, NGX_INT32_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }
    v->len = ngx_sprintf(v->data, "%uD", next) - v->data;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    return NGX_OK;
}

static ngx_int_t
ngx_http_auth_otp_user_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);

    (void)data;
    if (state == NULL || state->user.len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }
    v->data = state->user.data;
    v->len = state->user.len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    return NGX_OK;
}

static ngx_http_get_variable_pt ngx_http_auth_otp_other_remote_user;

/* nginx's own $remote_user knows only Basic, and only as long as its header is there. */
static ngx_int_t
ngx_http_auth_otp_remote_user_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_auth_otp_state_t *state = ngx_http_auth_otp_known_state(r);

    if (state && state->is_granted) {
        return ngx_http_auth_otp_user_variable(r, v, data);
    }
    return ngx_http_auth_otp_other_remote_user(r, v, data);
}

/* ---- Configuration ---------------------------------------------------------------------------------- */

static ngx_http_variable_t ngx_http_auth_otp_variables[] = {

    { ngx_string("auth_otp_result"), NULL, ngx_http_auth_otp_result_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("auth_otp_paper_next"), NULL, ngx_http_auth_otp_paper_next_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("auth_otp_user"), NULL, ngx_http_auth_otp_user_variable, 0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    ngx_http_null_variable
};

static ngx_int_t
ngx_http_auth_otp_add_variables(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_variable_t *known, *added;
    ngx_hash_key_t *key;
    ngx_uint_t i;

    for (known = ngx_http_auth_otp_variables; known->name.len; known++) {
        added = ngx_http_add_variable(cf, &known->name, known->flags);
        if (added == NULL) {
            return NGX_ERROR;
        }
        added->get_handler = known->get_handler;
    }

    /* nginx has recreated its own variables for this configuration. */
    key = cmcf->variables_keys->keys.elts;
    for (i = 0; i < cmcf->variables_keys->keys.nelts; i++) {
        added = key[i].value;
        if (added->name.len == sizeof("remote_user") - 1
            && ngx_strncmp(added->name.data, "remote_user", added->name.len) == 0)
        {
            ngx_http_auth_otp_other_remote_user = added->get_handler;
            added->get_handler = ngx_http_auth_otp_remote_user_variable;
            return NGX_OK;
        }
    }
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "auth_otp: this nginx has no $remote_user");
    return NGX_ERROR;
}

/*
 * Runs when the cycle's pool ends: in the master after a reload, once no request of that cycle is left; in a
 * worker once its threads have been joined.
 */
static void
ngx_http_auth_otp_free_gate(void *data)
{
    otpgate_gate_free(data);
}

static void *
ngx_http_auth_otp_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_auth_otp_main_conf_t));
    ngx_pool_cleanup_t *cln = ngx_pool_cleanup_add(cf->pool, 0);
    otpgate_host host;

    if (mcf == NULL || cln == NULL
        || ngx_array_init(&mcf->places, cf->pool, 4, sizeof(otpgate_place)) != NGX_OK
        || ngx_array_init(&mcf->roots, cf->pool, 4, sizeof(otpgate_str)) != NGX_OK)
    {
        return NULL;
    }
    ngx_memzero(&host, sizeof(host));
    host.api_version = OTPGATE_API_VERSION;
    host.server = OTPGATE_NGINX;
    host.root = ngx_http_auth_otp_str(&cf->cycle->prefix);
    host.log = ngx_http_auth_otp_log;
    host.lock_zone = ngx_http_auth_otp_lock_zone;
    host.unlock_zone = ngx_http_auth_otp_unlock_zone;

    mcf->gate = otpgate_gate_new(&host);
    if (mcf->gate == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "auth_otp: cannot initialise otpgate %s", otpgate_version());
        return NULL;
    }
    cln->handler = ngx_http_auth_otp_free_gate;
    cln->data = mcf->gate;
    return mcf;
}

static void *
ngx_http_auth_otp_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_auth_otp_loc_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_auth_otp_loc_conf_t));

    if (conf) {
        conf->is_on = NGX_CONF_UNSET;
    }
    return conf;
}

/* Runs in the master, at start and at each reload; the memory is kept over a reload that changes neither name nor
 * size. */
static ngx_int_t
ngx_http_auth_otp_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_slab_pool_t *shpool = (ngx_slab_pool_t *)shm_zone->shm.addr;
    otpgate_zone *zone = shm_zone->data;
    otpgate_zone *before = data;

    if (before) {
        *zone = *before;
        return NGX_OK;
    }
    zone->mutex = &shpool->mutex;
    zone->size = shpool->pfree * ngx_pagesize;
    zone->memory = ngx_slab_alloc(shpool, zone->size);
    if (zone->memory == NULL || otpgate_zone_init(zone)) {
        ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0, "auth_otp: the memory of zone \"%V\" can't be made ready",
                      &shm_zone->shm.name);
        return NGX_ERROR;
    }
    return NGX_OK;
}

static ngx_shm_zone_t *
ngx_http_auth_otp_add_zone(ngx_conf_t *cf, ngx_str_t *name, size_t size)
{
    ngx_shm_zone_t *zone = ngx_shared_memory_add(cf, name, size, &ngx_http_auth_otp_module);

    if (zone) {
        zone->init = ngx_http_auth_otp_init_zone;
        zone->data = ngx_pcalloc(cf->pool, sizeof(otpgate_zone));
        if (zone->data == NULL) {
            return NULL;
        }
    }
    return zone;
}

/* Whether the server being merged listens on a unix socket. */
static ngx_uint_t
ngx_http_auth_otp_is_on_unix_socket(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_core_srv_conf_t *cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    ngx_http_conf_port_t *ports;
    ngx_http_conf_addr_t *addrs;
    ngx_http_core_srv_conf_t **servers;
    ngx_uint_t p, a, s;

    if (cmcf->ports == NULL) {
        return 0;
    }
    ports = cmcf->ports->elts;
    for (p = 0; p < cmcf->ports->nelts; p++) {
        if (ports[p].family != AF_UNIX) {
            continue;
        }
        addrs = ports[p].addrs.elts;
        for (a = 0; a < ports[p].addrs.nelts; a++) {
            servers = addrs[a].servers.elts;
            for (s = 0; s < addrs[a].servers.nelts; s++) {
                if (servers[s] == cscf) {
                    return 1;
                }
            }
        }
    }
    return 0;
}

/* The realm of auth_basic, merged before us, in the same place. Its table of directives says where it keeps that. */
static otpgate_str
ngx_http_auth_otp_basic_realm(ngx_conf_t *cf)
{
    otpgate_str none = { 0, NULL };
    ngx_http_complex_value_t *realm;
    ngx_command_t *cmd;
    ngx_module_t *module;
    ngx_uint_t i;
    u_char *conf;

    for (i = 0; cf->cycle->modules[i]; i++) {
        module = cf->cycle->modules[i];
        if (ngx_strcmp(module->name, "ngx_http_auth_basic_module") != 0) {
            continue;
        }
        for (cmd = module->commands; cmd->name.len; cmd++) {
            if (cmd->set == ngx_http_set_complex_value_slot && cmd->name.len == sizeof("auth_basic") - 1
                && ngx_strncmp(cmd->name.data, "auth_basic", cmd->name.len) == 0)
            {
                conf = ((ngx_http_conf_ctx_t *)cf->ctx)->loc_conf[module->ctx_index];
                realm = *(ngx_http_complex_value_t **)(conf + cmd->offset);
                return realm && realm != NGX_CONF_UNSET_PTR ? ngx_http_auth_otp_str(&realm->value) : none;
            }
        }
    }
    return none;
}

/* Whether a location inside `outer` that has this path may be the page to log in. Those of regular expressions may. */
static ngx_uint_t
ngx_http_auth_otp_may_have_page(ngx_http_core_loc_conf_t *outer, otpgate_str path)
{
    ngx_http_core_loc_conf_t *inner;
    ngx_http_location_queue_t *known;
    ngx_queue_t *q, *end = outer->locations;

    for (q = end ? ngx_queue_head(end) : NULL; q != end; q = ngx_queue_next(q)) {
        known = (ngx_http_location_queue_t *)q;
        inner = known->exact ? known->exact : known->inclusive;
        if (inner->noname || inner->named) {
            continue;
        }
#if (NGX_PCRE)
        if (inner->regex == NULL)
#endif
        {
            if (inner->name.len > path.len || ngx_strncmp(inner->name.data, path.data, inner->name.len) != 0
                || (inner->exact_match && inner->name.len != path.len))
            {
                continue;
            }
        }
        if (inner->handler == ngx_http_auth_otp_page || ngx_http_auth_otp_may_have_page(inner, path)) {
            return 1;
        }
    }
    return 0;
}

static ngx_int_t
ngx_http_auth_otp_note_place(ngx_conf_t *cf, ngx_http_auth_otp_main_conf_t *mcf, ngx_http_auth_otp_loc_conf_t *conf)
{
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_http_core_srv_conf_t *cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    ngx_http_core_loc_conf_t *server = cscf->ctx->loc_conf[ngx_http_core_module.ctx_index];
    otpgate_place *place;

    if (!ngx_test_config) {
        return NGX_OK;
    }
    place = ngx_array_push(&mcf->places);
    if (place == NULL) {
        return NGX_ERROR;
    }
    ngx_memzero(place, sizeof(*place));
    place->settings = &conf->settings;
    place->place = ngx_http_auth_otp_str(conf->is_page ? &conf->page_place : &conf->place);
    if (conf->is_on) {
        place->realm = ngx_http_auth_otp_str(&conf->realm.value);
    }
    place->is_login_page = conf->is_page;
    place->has_login_page = ngx_http_auth_otp_may_have_page(server, otpgate_settings_login_page(&conf->settings));
    place->is_on_unix_socket = ngx_http_auth_otp_is_on_unix_socket(cf);
    place->is_any_enough = clcf->satisfy == NGX_HTTP_SATISFY_ANY;
    place->other_realm = ngx_http_auth_otp_basic_realm(cf);
    return NGX_OK;
}

static ngx_int_t
ngx_http_auth_otp_note_root(ngx_conf_t *cf, ngx_http_auth_otp_main_conf_t *mcf)
{
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    otpgate_str *root;

    if (!ngx_test_config || clcf->root_lengths) {
        return NGX_OK;
    }
    root = ngx_array_push(&mcf->roots);
    if (root == NULL) {
        return NGX_ERROR;
    }
    *root = ngx_http_auth_otp_str(&clcf->root);
    return NGX_OK;
}

static char *
ngx_http_auth_otp_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_auth_otp_loc_conf_t *prev = parent;
    ngx_http_auth_otp_loc_conf_t *conf = child;
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_auth_otp_module);
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    ngx_str_t zone_name = ngx_string(NGX_HTTP_AUTH_OTP_ZONE_NAME);

    if (ngx_http_auth_otp_note_root(cf, mcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    conf->is_page = clcf->handler == ngx_http_auth_otp_page;
    if (prev->is_page && clcf->noname && clcf->handler == NULL) {
        /* `if` or `limit_except`, which are part of the page's location. */
        conf->is_page = 1;
        conf->page_place = prev->page_place;
        clcf->handler = ngx_http_auth_otp_page;
    }
    otpgate_settings_merge(&conf->settings, OTPGATE_NGINX, &prev->settings, &conf->settings);
    conf->has_basic = otpgate_settings_has_basic(&conf->settings);
    conf->has_challenges = conf->has_basic || otpgate_settings_has_digest(&conf->settings);
    conf->wants_cookie = otpgate_settings_wants_cookie(OTPGATE_NGINX, &conf->settings);
    conf->strips = otpgate_settings_strips(OTPGATE_NGINX, &conf->settings);
    if (conf->is_on == NGX_CONF_UNSET) {
        conf->is_on = prev->is_on;
        conf->realm = prev->realm;
        conf->place = prev->place;
    }
    ngx_conf_init_value(conf->is_on, 0);
    if (conf->pool == NULL) {
        conf->pool = prev->pool;
    }
    if (!conf->is_on && !conf->is_page) {
        return NGX_CONF_OK;
    }
    mcf->has_cookies |= conf->wants_cookie;
    if (conf->pool == NULL) {
        conf->pool = ngx_thread_pool_add(cf, NULL);
        if (conf->pool == NULL) {
            return NGX_CONF_ERROR;
        }
    }
    if (ngx_http_auth_otp_note_place(cf, mcf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    if (otpgate_settings_has_digest(&conf->settings) && mcf->zone == NULL) {
        mcf->zone = ngx_http_auth_otp_add_zone(cf, &zone_name, NGX_HTTP_AUTH_OTP_ZONE_SIZE);
        if (mcf->zone == NULL) {
            return NGX_CONF_ERROR;
        }
    }
    return NGX_CONF_OK;
}

static ngx_int_t
ngx_http_auth_otp_place(ngx_conf_t *cf, ngx_str_t *place)
{
    u_char *end;

    place->data = ngx_pnalloc(cf->pool, cf->conf_file->file.name.len + 1 + NGX_INT_T_LEN);
    if (place->data == NULL) {
        return NGX_ERROR;
    }
    end = ngx_sprintf(place->data, "%V:%ui", &cf->conf_file->file.name, cf->conf_file->line);
    place->len = end - place->data;
    return NGX_OK;
}

/* Whether the section already has that directive, which nginx reports. */
static ngx_uint_t
ngx_http_auth_otp_is_duplicate(ngx_http_auth_otp_loc_conf_t *conf, ngx_command_t *cmd)
{
    uint64_t bit = (uint64_t)1 << (cmd - ngx_http_auth_otp_commands);
    ngx_uint_t is_duplicate = (conf->seen & bit) != 0;

    conf->seen |= bit;
    return is_duplicate;
}

static void *
ngx_http_auth_otp_allocate(void *pool, size_t size)
{
    return ngx_palloc(pool, size);
}

static char *
ngx_http_auth_otp_set(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_auth_otp_main_conf_t *mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_auth_otp_module);
    ngx_http_auth_otp_loc_conf_t *conf = data;
    ngx_str_t *words = cf->args->elts;
    const otpgate_pool pool = { ngx_http_auth_otp_allocate, cf->pool };
    ngx_str_t place;
    char error[512];

    if (ngx_http_auth_otp_is_duplicate(conf, cmd)) {
        return "is duplicate";
    }
    if (ngx_http_auth_otp_place(cf, &place) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    if (otpgate_settings_set(mcf->gate, &conf->settings, &pool, OTPGATE_NGINX, ngx_http_auth_otp_str(&cmd->name),
                             (const otpgate_str *)&words[1], cf->args->nelts - 1, ngx_http_auth_otp_str(&place),
                             error, sizeof(error)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error);
        return NGX_CONF_ERROR;
    }
    return NGX_CONF_OK;
}

static char *
ngx_http_auth_otp_set_realm(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_auth_otp_loc_conf_t *conf = data;
    ngx_str_t *words = cf->args->elts;
    ngx_http_compile_complex_value_t ccv;
    char error[512];

    if (ngx_http_auth_otp_is_duplicate(conf, cmd)) {
        return "is duplicate";
    }
    switch (otpgate_realm_of_directive(ngx_http_auth_otp_str(&words[1]), error, sizeof(error))) {
    case OTPGATE_REALM_ON:
        break;
    case OTPGATE_REALM_OFF:
        conf->is_on = 0;
        return NGX_CONF_OK;
    default:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error);
        return NGX_CONF_ERROR;
    }
    ngx_memzero(&ccv, sizeof(ccv));
    ccv.cf = cf;
    ccv.value = &words[1];
    ccv.complex_value = &conf->realm;
    if (ngx_http_compile_complex_value(&ccv) != NGX_OK || ngx_http_auth_otp_place(cf, &conf->place) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    conf->is_on = 1;
    return NGX_CONF_OK;
}

static char *
ngx_http_auth_otp_set_page(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_auth_otp_loc_conf_t *conf = data;
    ngx_http_core_loc_conf_t *clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (ngx_http_auth_otp_is_duplicate(conf, cmd)) {
        return "is duplicate";
    }
    if (ngx_http_auth_otp_place(cf, &conf->page_place) != NGX_OK) {
        return NGX_CONF_ERROR;
    }
    clcf->handler = ngx_http_auth_otp_page;
    return NGX_CONF_OK;
}

static char *
ngx_http_auth_otp_set_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_auth_otp_main_conf_t *mcf = data;
    ngx_str_t *words = cf->args->elts;
    ngx_str_t name = words[1];
    size_t size;
    char error[512];

    (void)cmd;
    if (mcf->zone) {
        return "is duplicate";
    }
    if (otpgate_zone_of_directive(ngx_http_auth_otp_str(&words[1]), ngx_pagesize, &name.len, &size, error,
                                  sizeof(error)))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error);
        return NGX_CONF_ERROR;
    }
    mcf->zone = ngx_http_auth_otp_add_zone(cf, &name, size);
    return mcf->zone ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static char *
ngx_http_auth_otp_set_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_auth_otp_loc_conf_t *conf = data;
    ngx_str_t *words = cf->args->elts;

    if (ngx_http_auth_otp_is_duplicate(conf, cmd)) {
        return "is duplicate";
    }
    conf->pool = ngx_thread_pool_add(cf, &words[1]);
    return conf->pool ? NGX_CONF_OK : NGX_CONF_ERROR;
}

static ngx_int_t
ngx_http_auth_otp_push(ngx_http_core_main_conf_t *cmcf, ngx_uint_t phase, ngx_http_handler_pt own)
{
    ngx_http_handler_pt *handler = ngx_array_push(&cmcf->phases[phase].handlers);

    if (handler == NULL) {
        return NGX_ERROR;
    }
    *handler = own;
    return NGX_OK;
}

static ngx_int_t
ngx_http_auth_otp_init(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_array_t *access = &cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers;
    ngx_http_handler_pt *handlers;

    if (ngx_http_auth_otp_push(cmcf, NGX_HTTP_PREACCESS_PHASE, ngx_http_auth_otp_preaccess) != NGX_OK
        || ngx_http_auth_otp_push(cmcf, NGX_HTTP_ACCESS_PHASE, ngx_http_auth_otp_access) != NGX_OK
        || ngx_http_auth_otp_push(cmcf, NGX_HTTP_PRECONTENT_PHASE, ngx_http_auth_otp_precontent) != NGX_OK)
    {
        return NGX_ERROR;
    }

    /* nginx runs the handlers of a phase from last to first. Ours must run last, so that `deny`
     * refuses before a code is spent or a wrong one counted. */
    handlers = access->elts;
    ngx_memmove(&handlers[1], &handlers[0], (access->nelts - 1) * sizeof(ngx_http_handler_pt));
    handlers[0] = ngx_http_auth_otp_access;
    return NGX_OK;
}

/*
 * The earliest moment when the `user` directive is known wherever it is. Findings are reported and stop nothing:
 * with a broken users file, only its own locations answer 500.
 */
static ngx_int_t
ngx_http_auth_otp_init_module(ngx_cycle_t *cycle)
{
    ngx_core_conf_t *ccf = (ngx_core_conf_t *)ngx_get_conf(cycle->conf_ctx, ngx_core_module);
    ngx_http_auth_otp_main_conf_t *mcf;
    ngx_http_auth_otp_call_t call;
    otpgate_identity identity;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_auth_otp_module);
    if (mcf == NULL) {
        return NGX_OK; /* no http block */
    }
    if (mcf->has_cookies) {
        /* By now nginx's own filters are there, wherever in the list of modules this one is. */
        ngx_http_auth_otp_next_header_filter = ngx_http_top_header_filter;
        ngx_http_top_header_filter = ngx_http_auth_otp_header_filter;
    }
    if (!ngx_test_config) {
        return NGX_OK;
    }

    /* A server not started by root keeps its user, whatever `user` says. */
    identity.uid = geteuid() ? geteuid() : ccf->user;
    identity.gid = geteuid() ? getegid() : ccf->group;

    call.log = cycle->log;
    call.is_test = 1;
    otpgate_places_check(mcf->gate, mcf->places.elts, mcf->places.nelts, mcf->roots.elts, mcf->roots.nelts, &identity,
                         &call);
    return NGX_OK;
}
