/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * mod_authn_otp: one-time passwords for Apache httpd 2.4: the authentication provider "OTP", `AuthType OTP` for browsers
 * that are known by a cookie, and the content handler "otp-login", the page to log in.
 *
 * This file translates between httpd and otpgate.h and decides nothing itself: the meaning of directives, who
 * gets in and the log text are up to the library.
 *
 * When httpd calls what:
 *   pre_config      after the configuration was read (so ServerRoot is known) and before directives are
 *                   processed; twice at start, once per restart:             a new gate
 *   directives      then, and once more per request for .htaccess files:     otpgate_settings_set()
 *   check_config    after the directives, in a configuration test as well:   otpgate_places_check()
 *   access checks   per request, before anything looks at credentials:       OTPAuthRequireTLS, otpgate_admit(),
 *                                                                            OTPAuthLoginPage needs no login
 *   check_authn     before mod_auth_basic, where cookies are used, for
 *                   requests without credentials for it:                     otpgate_decide() by the cookie alone
 *   the provider    per request and again for each sub-request or redirect
 *                   into a section with other settings:                      otpgate_decide(), or for Digest
 *                                                                            otpgate_digest_match()
 *   auth_checker    after authentication, so once mod_auth_digest has accepted
 *                   response, nonce, nc and opaque:                          otpgate_digest_spend()
 *   fixups          per sub-request and internal redirect that httpd doesn't ask
 *                   the provider about, after a grant for one path:          otpgate_decide()
 *   fixups          of the page that an ErrorDocument names:                 OTP_PAPER_NEXT for that page
 *   insert_filter   before any content handler:                              OTPAuthStrip
 *   handler         of the page to log in:                                   otpgate_page()
 *   log_transaction at the end of the request:                               OTP_RESULT for the access log
 *
 * Children are forked after all configuration is done and use the copy of the gate they inherit.
 */

#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "apr_buckets.h"
#include "apr_optional.h"
#include "apr_shm.h"
#include "apr_strings.h"
#include "apr_tables.h"

#include "ap_config.h"
#include "ap_mmn.h"
#include "ap_provider.h"
#include "httpd.h"
#include "http_config.h"
#include "http_core.h"
#include "http_log.h"
#include "http_main.h"
#include "http_protocol.h"
#include "http_request.h"
#include "ap_mpm.h"
#include "mod_auth.h"
#include "mod_core.h"
#include "util_filter.h"
#include "unixd.h"

/* ap_ssl_conn_is_ssl() came with 2.4.47; distributions with an older httpd are still maintained. */
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 102)
#include "http_ssl.h"
#else
APR_DECLARE_OPTIONAL_FN(int, ssl_is_https, (conn_rec *));
#endif

#include "otpgate.h"

extern module AP_MODULE_DECLARE_DATA authn_otp_module;
APLOG_USE_MODULE(authn_otp); /* for `LogLevel authn_otp:debug` */

#define PROVIDER_NAME "OTP"
#define AUTH_TYPE "OTP"
#define HANDLER_NAME "otp-login"
#define PAGE_NOTE "otp-login-page"
#define RESULT_NAME "OTP_RESULT"
#define PAPER_NEXT_NAME "OTP_PAPER_NEXT"

/* One section's configuration. */
typedef struct {
    otpgate_settings settings;
    int listed; /* already in `places` */
} otp_dir_conf;

/* A grant for one path, by the credentials of the client's request. */
typedef struct {
    const otp_dir_conf *conf; /* of the provider that granted; NULL: there was no such grant */
    otpgate_str user;
    otpgate_str password;
} otp_app;

/* Shared by all sub-requests and internal redirects of one client request. */
typedef struct {
    otp_app app; /* the request's own; a sub-request or redirect has its own in its own place */
    otpgate_memory memory;
    const char *method; /* the client's: an ErrorDocument changes that of the request */
    const char *result; /* of the last decision; NULL: none yet */
    int asking_pin;     /* a PIN provider is being asked */
    apr_table_t *added; /* names of headers that go out with whatever the answer is; NULL: none */

    /* A refusal, if any, goes out at a multiple of this many milliseconds; 0: nothing was judged. */
    apr_uint32_t refusal_time;
    apr_time_t arrival; /* when we were first asked */
    int is_refused;     /* or passed on, and refused by a later provider */
    int is_page;        /* by the page to log in, whatever status it has */
    int has_waited;

    /* The Authorization header that was decided about here; NULL: none, or it is another provider's. */
    const char *authorization;
    /* What was taken away before the content handler, for parts that ask for a login. NULL: nothing. */
    const char *stripped_authorization;
    const char *stripped_cookie;

    otpgate_response *instead; /* of a 401 that mod_auth_basic has sent; NULL: none */

    /* The Digest login that mod_auth_digest is checking, and for which request. */
    otpgate_login digest;
    const request_rec *digest_of;
    const otp_dir_conf *digest_conf;

    int has_app; /* this request or a part of it has a grant for one path */
} otp_request;

/* Passed through the library as its `request`. */
typedef struct {
    request_rec *r;           /* NULL: none, the server's own log */
    const otp_dir_conf *conf; /* of its place */
    const server_rec *server; /* NULL: the configuration test */
} otp_call;

/*
 * The current configuration cycle, created in pre_config and ended with pconf. Statics suffice because httpd
 * never has more than one cycle alive per process: the old pconf is cleared before the next configuration
 * is read, and children of older generations keep their own copies. Between cycles there is no gate, and no request
 * either; if one came anyway, the library would answer with an error.
 */
static otpgate_gate *gate;
static apr_array_header_t *places; /* of otpgate_place: each section with one of our directives */
static APR_OPTIONAL_FN_TYPE(ap_authn_cache_store) *store_in_cache;

static ap_filter_rec_t *refusal_filter;

static const authn_provider otp_provider;

static otpgate_str str(const char *s)
{
    otpgate_str out = { s ? strlen(s) : 0, (const unsigned char *)s };
    return out;
}

static char *terminated(apr_pool_t *p, otpgate_str s)
{
    char *out = apr_palloc(p, s.len + 1);

    if (s.len) {
        memcpy(out, s.data, s.len);
    }
    out[s.len] = '\0';
    return out;
}

/* The compiler may drop a plain memset() of memory that isn't used again. */
static void wipe(void *memory, size_t len)
{
    volatile unsigned char *byte = memory;

    while (len--) {
        *byte++ = 0;
    }
}

static const otp_dir_conf *dir_conf(const request_rec *r)
{
    return ap_get_module_config(r->per_dir_config, &authn_otp_module);
}

/* The client's own request: a redirect may happen within a sub-request and vice versa. */
static request_rec *first_request(request_rec *r)
{
    while (r->main || r->prev) {
        r = r->main ? r->main : r->prev;
    }
    return r;
}

/* The request because of which httpd lets this one in without asking for a login; NULL: it has asked. */
static const request_rec *taken_over_from(const request_rec *r)
{
    if (r->prev && r->prev->per_dir_config == r->per_dir_config) {
        return r->prev;
    }
    return r->main && r->main->per_dir_config == r->per_dir_config ? r->main : NULL;
}

/* No clean-up is registered: prefork destroys a dying child's pools in a signal handler. */
static otp_request *request_state(request_rec *r)
{
    request_rec *first = first_request(r);
    otp_request *state = ap_get_module_config(first->request_config, &authn_otp_module);

    if (!state) {
        state = apr_pcalloc(first->pool, sizeof(*state));
        state->method = first->method;
        ap_set_module_config(first->request_config, &authn_otp_module, state);
    }
    return state;
}

static const char *authorization_header(const request_rec *r)
{
    return r->proxyreq == PROXYREQ_PROXY ? "Proxy-Authorization" : "Authorization";
}

static int is_of_type(request_rec *r, const char *name)
{
    const char *type = ap_auth_type(r);

    return type && !strcasecmp(type, name);
}

/* ---- Callbacks of the library ------------------------------------------------------------------------- */

static void log_line(void *request, int level, otpgate_str message)
{
    const otp_call *call = request;

    /* httpd's levels have syslog's numbers, too. Without a server, httpd logs to stderr, which is where
     * somebody who runs `apachectl -t` looks; "startup" lines come without level, time stamp and process id, and notices
     * whatever level the command line asks for. */
    if (call->r) {
        ap_log_rerror(APLOG_MARK, level, 0, call->r, "%.*s", (int)message.len, (const char *)message.data);
    }
    else if (call->server) {
        ap_log_error(APLOG_MARK, level, 0, call->server, "%.*s", (int)message.len, (const char *)message.data);
    }
    else {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_NOTICE, 0, NULL, "%.*s", (int)message.len,
                     (const char *)message.data);
    }
}

static int check_pin(void *request, otpgate_str user, otpgate_str pin)
{
    const otp_call *call = request;
    request_rec *r = call->r;
    otp_request *state = request_state(r);
    char *outer_user = r->user;
    const char *outer_name = apr_table_get(r->notes, AUTHN_PROVIDER_NAME_NOTE);
    char *secret = terminated(r->pool, pin);
    authn_status status = AUTH_USER_NOT_FOUND;
    otpgate_str listed;
    size_t i;

    /* Some providers read the name from the request instead of the argument. */
    r->user = terminated(r->pool, user);
    state->asking_pin = 1;
    for (i = 0; status == AUTH_USER_NOT_FOUND && otpgate_settings_pin_provider(&call->conf->settings, i, &listed); i++) {
        const char *name = terminated(r->pool, listed);
        const authn_provider *provider = ap_lookup_provider(AUTHN_PROVIDER_GROUP, name, AUTHN_PROVIDER_VERSION);

        if (!provider || !provider->check_password) {
            otpgate_log_event(gate, OTPGATE_EVENT_PROVIDER_GONE, listed, request);
            status = AUTH_GENERAL_ERROR;
            break;
        }
        /* An <AuthnProviderAlias> finds its own settings by this note. */
        apr_table_setn(r->notes, AUTHN_PROVIDER_NAME_NOTE, name);
        status = provider->check_password(r, r->user, secret);
    }
    state->asking_pin = 0;

    if (outer_name) {
        apr_table_setn(r->notes, AUTHN_PROVIDER_NAME_NOTE, outer_name);
    }
    else {
        apr_table_unset(r->notes, AUTHN_PROVIDER_NAME_NOTE);
    }
    r->user = outer_user;
    wipe(secret, pin.len);

    switch (status) {
    case AUTH_GRANTED:
        return OTPGATE_PIN_RIGHT;
    case AUTH_DENIED:
        return OTPGATE_PIN_WRONG;
    case AUTH_USER_NOT_FOUND:
        return OTPGATE_PIN_UNKNOWN;
    default:
        return OTPGATE_PIN_ERROR;
    }
}

/*
 * With `AuthBasicProvider socache OTP`, a PIN provider that feeds mod_authn_socache would make the PIN alone
 * good for a login: the cache answers first. So anything a provider wants cached while it is asked
 * about a PIN is dropped. Doing it here and not by hiding mod_authn_socache's section settings also
 * covers AuthnCacheProvideFor within the <AuthnProviderAlias> of a PIN provider.
 */
static void store_unless_pin(request_rec *r, const char *provider, const char *user, const char *realm,
                             const char *data)
{
    const otp_request *state = ap_get_module_config(first_request(r)->request_config, &authn_otp_module);

    if (!state || !state->asking_pin) {
        store_in_cache(r, provider, user, realm, data);
    }
}

/* ---- Logins of all kinds ------------------------------------------------------------------------------ */

static int has_tls(const request_rec *r)
{
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 102)
    return ap_ssl_conn_is_ssl(r->connection);
#else
    APR_OPTIONAL_FN_TYPE(ssl_is_https) *is_https = APR_RETRIEVE_OPTIONAL_FN(ssl_is_https);

    return is_https && is_https(r->connection);
#endif
}

static int tls_is_missing(const request_rec *r)
{
    return otpgate_settings_require_tls(&dir_conf(r)->settings) && !has_tls(r);
}

static void record_result(request_rec *r, otp_request *state, const char *result, int granted)
{
    request_rec *first = first_request(r);

    apr_table_setn(r->notes, RESULT_NAME, result);

    /* How a part of a page was judged must not hide how the page was. */
    if (!r->main || !state->result) {
        state->result = result;
        if (first != r) {
            apr_table_setn(first->notes, RESULT_NAME, result);
        }
    }

    if (granted) {
        apr_table_setn(r->subprocess_env, RESULT_NAME, result);
    }
    else {
        apr_table_unset(r->subprocess_env, RESULT_NAME);
    }
}

static otpgate_address client_address(const request_rec *r)
{
    /* What mod_remoteip made of the connection's address. Its text, because that is what all modules of that kind set;
     * some leave the other form half done. */
    const apr_sockaddr_t *client = r->useragent_addr;
    const int has_one = client && (client->family == APR_INET
#if APR_HAVE_IPV6
                                   || client->family == APR_INET6
#endif
                                   );

    return otpgate_address_of(str(has_one ? r->useragent_ip : NULL));
}

/* Sent with the refusal, whoever makes it. */
static void note_retry_after(request_rec *r, const otpgate_answer *answer)
{
    if (answer->retry_after) {
        apr_table_setn(r->err_headers_out, "Retry-After", apr_psprintf(r->pool, "%u", answer->retry_after));
    }
}

/* For the page that asks again. */
static void note_paper_next(request_rec *r, const otp_request *state)
{
    apr_uint32_t next = otpgate_paper_next(&state->memory);

    if (next) {
        const char *text = apr_psprintf(r->pool, "%u", next);

        apr_table_setn(r->notes, PAPER_NEXT_NAME, text);
        apr_table_setn(first_request(r)->notes, PAPER_NEXT_NAME, text);
    }
}

/* For OTPAuthStrip: the header that is ours. It outlives the part of the request that has it. */
static void keep_authorization(request_rec *r, otp_request *state, int is_ours)
{
    /* A form's credentials aren't in the header. */
    is_ours = is_ours && otpgate_settings_strips(OTPGATE_APACHE, &dir_conf(r)->settings) && !is_of_type(r, "form");
    state->authorization = is_ours ? apr_pstrdup(first_request(r)->pool,
                                                 apr_table_get(r->headers_in, authorization_header(r)))
                                   : NULL;
}

/* Carries out the part of a decision common to Basic and Digest. */
static authn_status carry_out(request_rec *r, otp_request *state, otpgate_answer *answer)
{
    record_result(r, state, answer->result, answer->verdict == OTPGATE_GRANTED);
    note_retry_after(r, answer);
    state->is_refused = answer->verdict != OTPGATE_GRANTED;
    keep_authorization(r, state, answer->verdict != OTPGATE_UNKNOWN);
    if (answer->verdict == OTPGATE_DENIED) {
        note_paper_next(r, state);
    }
    if (answer->verdict == OTPGATE_GRANTED && answer->upstream_len) {
        apr_table_setn(r->headers_in, authorization_header(r),
                       apr_pstrmemdup(r->pool, answer->upstream, answer->upstream_len));
    }
    wipe(answer->upstream, answer->upstream_len);

    switch (answer->verdict) {
    case OTPGATE_GRANTED:
        return AUTH_GRANTED;
    case OTPGATE_UNKNOWN:
        return AUTH_USER_NOT_FOUND;
    case OTPGATE_ERROR:
        return AUTH_GENERAL_ERROR;
    default:
        return AUTH_DENIED;
    }
}

/* Where logins of all kinds begin. */
static void fill_login(otpgate_login *login, otp_call *call)
{
    request_rec *r = call->r;

    login->settings = &call->conf->settings;
    login->address = client_address(r);
    login->request = call;
}

static void fill_request(otpgate_login *login, otp_call *call)
{
    request_rec *r = call->r;
    uint64_t *granted = ap_get_module_config(r->connection->conn_config, &authn_otp_module);

    if (!granted) {
        granted = apr_pcalloc(r->connection->pool, sizeof(*granted));
        ap_set_module_config(r->connection->conn_config, &authn_otp_module, granted);
    }
    memset(login, 0, sizeof(*login));
    fill_login(login, call);
    /* Its levels have syslog's numbers. */
    login->log_level = ap_get_request_module_loglevel(r, APLOG_MODULE_INDEX);
    login->connection = granted;
    login->authorization = str(apr_table_get(r->headers_in, authorization_header(r)));
}

static void fill_basic(otpgate_login *login, otp_call *call)
{
    fill_request(login, call);
    login->scheme = OTPGATE_BASIC;
}

/* What a browser says. */
static void fill_browser(otpgate_login *login, request_rec *r)
{
    const request_rec *first = first_request(r);
    const otp_request *state = request_state(r);
    const apr_table_t *in = first->headers_in;

    login->realm = str(ap_auth_name(r));
    login->method = str(state->method);
    login->target = str(first->unparsed_uri);
    login->host = str(apr_table_get(in, "Host"));
    login->cookie = str(state->stripped_cookie ? state->stripped_cookie : apr_table_get(in, "Cookie"));
    login->accept = str(apr_table_get(in, "Accept"));
    login->accept_language = str(apr_table_get(in, "Accept-Language"));
    login->content_type = str(apr_table_get(in, "Content-Type"));
    login->origin = str(apr_table_get(in, "Origin"));
    login->fetch_site = str(apr_table_get(in, "Sec-Fetch-Site"));
    login->fetch_mode = str(apr_table_get(in, "Sec-Fetch-Mode"));
}

/* Before a login is judged. The settings of an <AuthnProviderAlias> are merged only now, after the access checks. */
static void fill_state(otpgate_login *login, otp_call *call, otp_request *state)
{
    /* httpd asks all modules for it, so only if it matters. */
    login->has_tls = !tls_is_missing(call->r);
    login->is_for_pin = state->asking_pin;
    login->memory = &state->memory;
}

/* The same for what may be a guess, whose refusal waits. */
static void begin_login(otpgate_login *login, otp_call *call, otp_request *state)
{
    fill_state(login, call, state);
    if (state->asking_pin) {
        return;
    }
    state->refusal_time = otpgate_settings_refusal_time(&call->conf->settings);
    /* Not when the request began: a client that sends its headers slowly could choose that. */
    if (!state->arrival) {
        state->arrival = apr_time_now();
    }
}

/* What the credentials are for. */
static void fill_target(otpgate_login *login, request_rec *r)
{
    const request_rec *first = first_request(r);

    /* A proxy's client asks for what others have; and an ErrorDocument changes r->method. */
    if (r->proxyreq != PROXYREQ_PROXY) {
        login->request_line = str(first->the_request);
    }
    login->host = str(apr_table_get(first->headers_in, "Host"));
    login->destination = str(apr_table_get(first->headers_in, "Destination"));
    login->path = str(r->uri);
}

/* NULL: none was granted for its own path. */
static otp_app *app_of(request_rec *r)
{
    otp_request *state;
    otp_app *app;

    if (!r->main && !r->prev) {
        state = ap_get_module_config(r->request_config, &authn_otp_module);
        app = state ? &state->app : NULL;
    }
    else {
        app = ap_get_module_config(r->request_config, &authn_otp_module);
    }
    return app && app->conf ? app : NULL;
}

static void keep_app(request_rec *r, otp_request *state, const otpgate_login *login, const otp_dir_conf *conf)
{
    otp_app *app = &state->app;

    if (r->main || r->prev) {
        app = apr_pcalloc(r->pool, sizeof(*app));
        ap_set_module_config(r->request_config, &authn_otp_module, app);
    }
    app->conf = conf;
    app->user = str(apr_pstrdup(r->pool, (const char *)login->user.data));
    app->password = str(apr_pstrdup(r->pool, (const char *)login->password.data));
    state->has_app = 1;
}

/* ---- Browsers ---------------------------------------------------------------------------------------- */

/* A forward proxy's client sends the cookies of other servers. */
static int uses_cookies(const request_rec *r, const otp_dir_conf *conf)
{
    return otpgate_settings_wants_cookie(OTPGATE_APACHE, &conf->settings) && r->proxyreq != PROXYREQ_PROXY;
}

/*
 * Adds the headers of a response to those of the request; without its body, but for those about that. `once`: of each
 * name one; NULL: all.
 */
static void add_headers(request_rec *r, const otpgate_response *response, int has_body, apr_table_t *once)
{
    otpgate_str name, value;
    size_t i;

    for (i = 0; otpgate_response_header(response, i, &name, &value); i++) {
        const char *key = terminated(r->pool, name);
        const char *text = terminated(r->pool, value);

        if ((!has_body && !strncasecmp(key, "Content-", sizeof("Content-") - 1)) || (once && apr_table_get(once, key))) {
            continue;
        }
        if (once) {
            apr_table_setn(once, key, "");
        }
        if (!strcasecmp(key, "Content-Type")) {
            ap_set_content_type(r, text);
        }
        else if (!strcasecmp(key, "Location")) {
            /* Where httpd itself looks for it, and keeps it if others send the answer. */
            apr_table_setn(r->headers_out, "Location", text);
        }
        else if (strcasecmp(key, "Content-Length")) {
            apr_table_addn(r->err_headers_out, key, text);
        }
    }
}

/* What goes out with the answer, whatever that is: once, though each part of the request may bring it. Releases it. */
static void add_to_answer(request_rec *r, otp_request *state, otpgate_response *response)
{
    request_rec *first = first_request(r);

    if (response && !otpgate_response_status(response) && !state->asking_pin) {
        if (!state->added) {
            state->added = apr_table_make(first->pool, 2);
        }
        add_headers(first, response, 0, state->added);
    }
    otpgate_response_free(response);
}

/* Makes status and headers of a response those of the request. */
static void begin_response(request_rec *r, const otpgate_response *response)
{
    r->status = otpgate_response_status(response);
    r->status_line = NULL;
    add_headers(r, response, 1, NULL);
    ap_set_content_length(r, otpgate_response_body(response).len);
}

static void send_body(request_rec *r, const otpgate_response *response)
{
    otpgate_str body = otpgate_response_body(response);

    if (!r->header_only) {
        ap_rwrite(body.data, body.len, r);
    }
}

/*
 * Such a one is what the admin wants to be seen. A redirect has to arrive. Whether there is one, by ErrorDocument or
 * ap_custom_response(), nothing but this function of mod_core.h says, which httpd installs and exports.
 */
static int has_error_document(request_rec *r, int status)
{
    return ap_is_HTTP_ERROR(status) && ap_response_code_string(r, ap_index_of_response(status));
}

/* Answers in the place of what was asked for. Returns what a hook has to return. */
static int refuse_with(request_rec *r, const otpgate_response *response)
{
    int status = otpgate_response_status(response);

    if (!ap_is_HTTP_VALID_RESPONSE(status)) {
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    /* Who asked for a part has to know how it ended. */
    if (r->main || r->status != HTTP_OK || has_error_document(r, status)) {
        add_headers(r, response, 0, NULL);
        return status;
    }
    /* As before all answers that no content handler gives. */
    ap_run_insert_error_filter(r);
    begin_response(r, response);
    send_body(r, response);
    return DONE;
}

/*
 * A refusal waits as it leaves, whoever made it: the timing must not reveal what was passed on and refused by another
 * provider either. mod_auth_form refuses by redirecting to its form.
 */
static void wait_as_a_refusal(const request_rec *r, const request_rec *first, otp_request *state)
{
    otpgate_address client;
    apr_uint64_t rest;

    if (!state->refusal_time || state->has_waited
        || !(state->is_page ? state->is_refused
                            : r->status == HTTP_UNAUTHORIZED
                                  || (r->status == HTTP_MOVED_TEMPORARILY && state->is_refused)))
    {
        return;
    }
    state->has_waited = 1;
    client = client_address(first);
    rest = otpgate_refusal_wait(gate, state->refusal_time, (apr_time_now() - state->arrival) / 1000, &client);
    if (rest) {
        apr_sleep(apr_time_from_msec(rest));
    }
}

/* A provider can't say what is to be sent instead of a 401. So it is put in the place of that as it leaves. */
static apr_status_t refuse(ap_filter_t *f, apr_bucket_brigade *brigade)
{
    request_rec *r = f->r;
    request_rec *first = first_request(r);
    otp_request *state = ap_get_module_config(first->request_config, &authn_otp_module);
    otpgate_str body;

    if (f->ctx) { /* the rest of what isn't sent */
        apr_brigade_cleanup(brigade);
        return APR_SUCCESS;
    }
    wait_as_a_refusal(r, first, state);
    if (!state->instead || r->status != HTTP_UNAUTHORIZED) {
        ap_remove_output_filter(f);
        return ap_pass_brigade(f->next, brigade);
    }
    f->ctx = state;
    apr_brigade_cleanup(brigade);
    apr_table_clear(r->headers_out);
    apr_table_unset(r->err_headers_out, "WWW-Authenticate");
    r->content_encoding = NULL;
    r->content_languages = NULL;
    begin_response(r, state->instead);
    body = otpgate_response_body(state->instead);
    if (body.len) {
        APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_heap_create((const char *)body.data, body.len, NULL,
                                                                f->c->bucket_alloc));
    }
    APR_BRIGADE_INSERT_TAIL(brigade, apr_bucket_eos_create(f->c->bucket_alloc));
    return ap_pass_brigade(f->next, brigade);
}

static void insert_refusal_filter(request_rec *r)
{
    const otp_request *state = ap_get_module_config(first_request(r)->request_config, &authn_otp_module);

    if (!r->main && state && ((state->refusal_time && !state->has_waited) || state->instead)) {
        ap_add_output_filter_handle(refusal_filter, NULL, r, r->connection);
    }
}

/* Gives back what was stripped: a redirect has the headers of the request before it. */
static void restore_stripped(request_rec *r)
{
    const otp_request *state = ap_get_module_config(first_request(r)->request_config, &authn_otp_module);

    if (!state) {
        return;
    }
    if (state->stripped_cookie) {
        apr_table_setn(r->headers_in, "Cookie", state->stripped_cookie);
    }
    if (state->stripped_authorization && !apr_table_get(r->headers_in, authorization_header(r))) {
        apr_table_setn(r->headers_in, authorization_header(r), state->stripped_authorization);
    }
}

/* Comes before mod_auth_basic, which has the last word in its own places. */
static int check_cookie(request_rec *r)
{
    otp_call call = { r, dir_conf(r), r->server };
    otp_request *state;
    otpgate_login login;
    otpgate_answer answer;
    int is_ours, status;

    restore_stripped(r);
    if (!uses_cookies(r, call.conf)) {
        return DECLINED;
    }
    /* Only where httpd has us asked: a cookie must not replace another provider's answer. */
    is_ours = is_of_type(r, AUTH_TYPE);
    if (!is_ours && !(is_of_type(r, "Basic") && otpgate_settings_asked_by_basic(&call.conf->settings))) {
        return DECLINED;
    }
    state = request_state(r);
    fill_request(&login, &call);
    if (!is_ours && otpgate_scheme(login.settings, login.authorization) == OTPGATE_BASIC) {
        return DECLINED; /* to be decided together: check_password() */
    }
    login.scheme = OTPGATE_COOKIE;
    fill_state(&login, &call, state);
    fill_browser(&login, r);
    otpgate_decide(gate, &login, &answer);
    if (*answer.result) {
        record_result(r, state, answer.result, answer.verdict == OTPGATE_GRANTED);
    }

    status = HTTP_INTERNAL_SERVER_ERROR;
    switch (answer.verdict) {
    case OTPGATE_GRANTED:
        if (answer.user_len) {
            r->user = apr_pstrmemdup(r->pool, answer.user, answer.user_len);
            r->ap_auth_type = (char *)ap_auth_type(r);
            state->is_refused = 0;
            state->authorization = NULL;
            add_to_answer(r, state, answer.response);
            return OK;
        }
        break;
    case OTPGATE_THROTTLED:
    case OTPGATE_BUSY:
        note_retry_after(r, &answer);
        status = answer.verdict == OTPGATE_BUSY ? HTTP_SERVICE_UNAVAILABLE : HTTP_TOO_MANY_REQUESTS;
        break;
    case OTPGATE_ERROR:
        break;
    default:
        if (!otpgate_response_status(answer.response)) {
            add_to_answer(r, state, answer.response);
            return is_ours ? HTTP_UNAUTHORIZED : DECLINED;
        }
        status = refuse_with(r, answer.response);
    }
    otpgate_response_free(answer.response);
    return status;
}

/*
 * A provider can't answer 429: a status that it sets is overwritten. So throttled clients are refused before
 * providers are asked.
 */
static int refuse_beforehand(request_rec *r)
{
    otp_call call = { r, dir_conf(r), r->server };
    otpgate_login login;
    otpgate_answer answer;
    int verdict;

    if (!otpgate_settings_asked_by_basic(&call.conf->settings)
        || otpgate_was_granted(ap_get_module_config(r->connection->conn_config, &authn_otp_module),
                               str(apr_table_get(r->headers_in, authorization_header(r)))))
    {
        return DECLINED;
    }
    fill_basic(&login, &call);
    if (uses_cookies(r, call.conf)) {
        /* Who has a cookie isn't held up. */
        fill_browser(&login, r);
    }
    verdict = otpgate_admit(gate, &login, &answer);
    if (verdict != OTPGATE_THROTTLED && verdict != OTPGATE_BUSY) {
        return DECLINED;
    }
    record_result(r, request_state(r), answer.result, 0);
    note_retry_after(r, &answer);
    return verdict == OTPGATE_BUSY ? HTTP_SERVICE_UNAVAILABLE : HTTP_TOO_MANY_REQUESTS;
}

/*
 * Comes last of the access checks: what is allowed without a login never gets here, and what is forbidden to anybody
 * stays so.
 */
static int check_before_login(request_rec *r)
{
    otpgate_str page = otpgate_settings_login_page(&dir_conf(r)->settings);

    if (page.len && strlen(r->uri) == page.len && !memcmp(r->uri, page.data, page.len)) {
        apr_table_setn(r->notes, PAGE_NOTE, "");
        return OK;
    }
    return refuse_beforehand(r);
}

/* What has passed is our page and nothing else. Which handler it has turns out only after the access checks. */
static int insist_on_page(request_rec *r)
{
    const request_rec *before = r;
    otp_call call = { r, NULL, r->server };

    /* httpd lets a part with the same settings pass because the request before it has. */
    while (before && !apr_table_get(before->notes, PAGE_NOTE)) {
        before = taken_over_from(before);
    }
    if (!before || (r->handler && !strcmp(r->handler, HANDLER_NAME))) {
        return DECLINED;
    }
    otpgate_log_event(gate, OTPGATE_EVENT_NOT_THE_PAGE, str(r->uri), &call);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Reads a request's body to `body`, of OTPGATE_BODY_MAX bytes. */
static int read_body(request_rec *r, char *body, apr_size_t *len)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_bucket *bucket;
    const char *piece;
    apr_size_t more;
    apr_status_t failed;

    for (*len = 0;; apr_brigade_cleanup(brigade)) {
        failed = ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, OTPGATE_BODY_MAX + 1);
        if (failed) {
            return ap_map_http_request_error(failed, HTTP_BAD_REQUEST);
        }
        for (bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
             bucket = APR_BUCKET_NEXT(bucket))
        {
            if (APR_BUCKET_IS_EOS(bucket)) {
                return OK;
            }
            if (APR_BUCKET_IS_METADATA(bucket)) {
                continue;
            }
            if (apr_bucket_read(bucket, &piece, &more, APR_BLOCK_READ)) {
                return HTTP_BAD_REQUEST;
            }
            if (more > OTPGATE_BODY_MAX - *len) {
                return HTTP_REQUEST_ENTITY_TOO_LARGE;
            }
            memcpy(body + *len, piece, more);
            *len += more;
        }
    }
}

static int serve_page(request_rec *r)
{
    otp_call call = { r, dir_conf(r), r->server };
    otp_request *state;
    otpgate_login login;
    otpgate_answer answer;
    char body[OTPGATE_BODY_MAX];
    apr_size_t len = 0;
    int status;

    if (strcmp(r->handler, HANDLER_NAME)) {
        return DECLINED;
    }
    if (r->method_number != M_GET && r->method_number != M_POST) {
        ap_allow_standard_methods(r, REPLACE_ALLOW, M_GET, M_POST, -1);
        return HTTP_METHOD_NOT_ALLOWED;
    }
    status = r->method_number == M_POST ? read_body(r, body, &len) : OK;
    if (status != OK) {
        wipe(body, len);
        return status;
    }
    state = request_state(r);
    fill_request(&login, &call);
    begin_login(&login, &call, state);
    fill_browser(&login, r);
    /* Those of the page: a redirect may lead to it. */
    login.method = str(r->method);
    login.target = str(r->unparsed_uri);
    login.body.data = (const unsigned char *)body;
    login.body.len = len;
    otpgate_page(gate, &login, &answer);
    wipe(body, len);
    wipe(answer.upstream, answer.upstream_len);

    if (*answer.result) {
        record_result(r, state, answer.result, answer.verdict == OTPGATE_GRANTED);
    }
    if (answer.verdict == OTPGATE_GRANTED) {
        r->user = apr_pstrmemdup(r->pool, answer.user, answer.user_len); /* for the access log */
    }
    /* Whoever only asks for it, isn't refused. */
    state->is_page = 1;
    state->is_refused = r->method_number == M_POST
                        && (answer.verdict == OTPGATE_DENIED || answer.verdict == OTPGATE_UNKNOWN);
    insert_refusal_filter(r);

    if (ap_is_HTTP_VALID_RESPONSE(otpgate_response_status(answer.response))) {
        status = r->status;
        begin_response(r, answer.response);
        if (status != HTTP_OK) {
            r->status = status; /* the page is an ErrorDocument of this error */
        }
        send_body(r, answer.response);
        status = OK;
    }
    else {
        status = HTTP_INTERNAL_SERVER_ERROR;
    }
    otpgate_response_free(answer.response);
    return status;
}

/*
 * OTPAuthStrip. Nothing asks for a login after this but parts of the request, and for them check_cookie() gives it back.
 * A header that another module has put in the place of ours stays.
 */
static void strip_credentials(request_rec *r)
{
    const char *cookie, *authorization;
    otp_request *state;
    apr_size_t len;
    char *left;

    if (!otpgate_settings_strips(OTPGATE_APACHE, &dir_conf(r)->settings) || r->proxyreq == PROXYREQ_PROXY) {
        return;
    }
    cookie = apr_table_get(r->headers_in, "Cookie");
    authorization = apr_table_get(r->headers_in, authorization_header(r));
    if (!cookie && !authorization) {
        return;
    }
    state = request_state(r);
    if (cookie) {
        left = apr_palloc(r->pool, strlen(cookie) + 1);
        len = otpgate_strip(str(cookie), left);
        left[len] = '\0';
        if (strcmp(left, cookie)) {
            state->stripped_cookie = apr_pstrdup(first_request(r)->pool, cookie);
            apr_table_unset(r->headers_in, "Cookie");
            if (len) {
                apr_table_setn(r->headers_in, "Cookie", left);
            }
        }
    }
    if (authorization && state->authorization && !strcmp(authorization, state->authorization)) {
        state->stripped_authorization = state->authorization;
        apr_table_unset(r->headers_in, authorization_header(r));
    }
}

/* ---- The provider ----------------------------------------------------------------------------------- */

static authn_status check_password(request_rec *r, const char *user, const char *password)
{
    otp_request *state = request_state(r);
    otp_call call = { r, dir_conf(r), r->server };
    otpgate_login login;
    otpgate_answer answer;
    int instead;

    fill_basic(&login, &call);
    begin_login(&login, &call, state);
    login.user = str(user);
    login.password = str(password);
    if (uses_cookies(r, call.conf)) {
        fill_browser(&login, r);
    }
    if (otpgate_wants_target(&login)) {
        fill_target(&login, r);
    }

    otpgate_decide(gate, &login, &answer);
    instead = otpgate_response_status(answer.response);
    if (instead && answer.verdict == OTPGATE_DENIED && !r->main && !state->instead && !has_error_document(r, instead)) {
        state->instead = answer.response;
    }
    else {
        add_to_answer(r, state, answer.response);
    }
    if (answer.is_for_path && answer.verdict == OTPGATE_GRANTED) {
        keep_app(r, state, &login, call.conf);
    }
    if (state->asking_pin) {
        /* A provider that leads back here: what becomes of the request is for the login to say that asked it. */
        wipe(answer.upstream, answer.upstream_len);
        return AUTH_GENERAL_ERROR;
    }
    return carry_out(r, state, &answer);
}

/*
 * mod_auth_digest asks for the hash after it has checked syntax, uri, opaque, realm and algorithm, but before
 * qop, response, nonce and nc. So this only finds out which password the client used; the code is spent by
 * spend_digest(), which httpd calls once mod_auth_digest is content.
 */
static authn_status get_realm_hash(request_rec *r, const char *user, const char *realm, char **rethash)
{
    otp_request *state = request_state(r);
    otp_call call = { r, dir_conf(r), r->server };
    request_rec *first = first_request(r);
    otpgate_login *login = &state->digest;
    otpgate_answer answer;
    char ha1[OTPGATE_HA1_LEN];

    state->digest_of = NULL;
    /* Header and method are those of the client's own request, as mod_auth_digest took them down before any
     * redirect; we have to, too, because PINFakeBasicAuth and ErrorDocument change them. */
    if (!login->authorization.data) {
        login->authorization = str(apr_pstrdup(first->pool, apr_table_get(first->headers_in,
                                                                          authorization_header(r))));
        login->method = str(state->method);
    }
    fill_login(login, &call);
    begin_login(login, &call, state);
    login->user = str(apr_pstrdup(r->pool, user));
    login->realm = str(apr_pstrdup(r->pool, realm));

    if (otpgate_digest_match(gate, login, &answer, &ha1) != OTPGATE_MATCHED) {
        return carry_out(r, state, &answer);
    }
    *rethash = apr_pstrmemdup(r->pool, ha1, sizeof(ha1));
    wipe(ha1, sizeof(ha1));
    /* Within an <AuthnProviderAlias>, the request itself doesn't show these settings later. */
    state->digest_conf = call.conf;
    state->digest_of = r;
    return AUTH_USER_FOUND;
}

static const authn_provider otp_provider = {
    check_password,
    get_realm_hash
};

/* Only what this grants is a Digest login of ours: that mod_auth_digest accepted the response only says
 * that the client knew an acceptable password a moment ago. */
static int spend_digest(request_rec *r)
{
    otp_request *state = ap_get_module_config(first_request(r)->request_config, &authn_otp_module);
    otpgate_answer answer;
    otp_call call;

    if (!state || state->digest_of != r) {
        return DECLINED;
    }
    state->digest_of = NULL;
    call.r = r;
    call.conf = state->digest_conf;
    call.server = r->server;
    state->digest.request = &call;
    otpgate_digest_spend(gate, &state->digest, &answer);

    switch (carry_out(r, state, &answer)) {
    case AUTH_GRANTED:
        return DECLINED; /* others say who may come in with that name */
    case AUTH_GENERAL_ERROR:
        return HTTP_INTERNAL_SERVER_ERROR;
    default:
        ap_note_auth_failure(r);
        return HTTP_UNAUTHORIZED;
    }
}

/* ---- Other phases of a request ---------------------------------------------------------------------- */

/*
 * OTPAuthRequireTLS needs both access hooks, and both come first of their kind.
 *
 * access_checker_ex runs before authentication and its refusal is final, with one exception: under
 * `Satisfy Any`, a request that all access_checker hooks let pass is in without any further question. There,
 * a refusal of an access_checker hook only means "go on", so this one closes the exception and
 * leaves the answer and the log line to the other. httpd skips both for a sub-request or redirect only if
 * its settings are those of the request before it, whose connection is the same.
 */
static int veto_satisfy_any(request_rec *r)
{
    return ap_satisfies(r) == SATISFY_ANY && tls_is_missing(r) ? HTTP_FORBIDDEN : DECLINED;
}

static int require_tls(request_rec *r)
{
    otp_call call = { r, dir_conf(r), r->server };

    if (!tls_is_missing(r)) {
        return DECLINED;
    }
    otpgate_log_event(gate, OTPGATE_EVENT_WITHOUT_TLS, str(NULL), &call);
    return HTTP_FORBIDDEN;
}

/* The grant of an earlier request of the same section, from which httpd has taken over that this one is let in. */
static otp_app *app_before(request_rec *r)
{
    request_rec *const before[] = { r->prev, r->main };
    otp_app *app = NULL;
    size_t i;

    for (i = 0; i < 2 && !app; i++) {
        if (before[i] && before[i]->per_dir_config == r->per_dir_config) {
            app = app_of(before[i]);
            if (!app) {
                app = app_before(before[i]);
            }
        }
    }
    return app;
}

/*
 * httpd asks no provider about a sub-request or redirect with the settings of the one before. A grant for one path doesn't
 * go that far. This hook runs for each of them, after the access checks and before anything answers.
 */
static int check_path_of_part(request_rec *r)
{
    request_rec *first = first_request(r);
    otp_request *state = ap_get_module_config(first->request_config, &authn_otp_module);
    const otp_app *app;
    otp_call call = { r, NULL, r->server };
    otpgate_login login;
    otpgate_answer answer;

    if (r == first || !state || !state->has_app || app_of(r) || !taken_over_from(r)) {
        return DECLINED;
    }
    app = app_before(r);
    if (!app) {
        /* With a user, a DirectoryIndex has taken the place of the request that the grant was for. */
        return r->user ? HTTP_FORBIDDEN : DECLINED;
    }
    call.conf = app->conf;
    fill_basic(&login, &call);
    begin_login(&login, &call, state);
    login.user = app->user;
    login.password = app->password;
    fill_target(&login, r);
    otpgate_decide(gate, &login, &answer);
    if (answer.verdict == OTPGATE_GRANTED && answer.is_for_path) {
        return DECLINED;
    }
    record_result(r, state, answer.result, 0);
    wipe(answer.upstream, answer.upstream_len);
    return HTTP_FORBIDDEN;
}

/* The page has an environment of its own. */
static int tell_paper_next(request_rec *r)
{
    if (r->prev) {
        const char *next = apr_table_get(first_request(r)->notes, PAPER_NEXT_NAME);

        if (next) {
            apr_table_setn(r->subprocess_env, PAPER_NEXT_NAME, next);
        }
    }
    return DECLINED;
}

/* Access logs read notes from the last of a chain of redirects, which needn't have been judged itself (an
 * ErrorDocument), or may have had those of a DirectoryIndex sub-request laid over its own. */
static int end_request(request_rec *r)
{
    otp_request *state = ap_get_module_config(first_request(r)->request_config, &authn_otp_module);

    while (r->next) {
        r = r->next;
    }
    if (!state) {
        return DECLINED;
    }
    if (state->result) {
        apr_table_setn(r->notes, RESULT_NAME, state->result);
    }
    /* Not by the pool: prefork destroys a dying child's in a signal handler. */
    otpgate_response_free(state->instead);
    state->instead = NULL;
    return DECLINED;
}

/* ---- Configuration ---------------------------------------------------------------------------------- */

static void *create_dir_conf(apr_pool_t *p, char *dir)
{
    (void)dir;
    return apr_pcalloc(p, sizeof(otp_dir_conf));
}

/* What httpd merges into lives no longer than either, and nothing is set in it any more. */
static void *merge_dir_conf(apr_pool_t *p, void *base, void *child)
{
    const otp_dir_conf *outer = base, *inner = child;
    otp_dir_conf *out;

    if (!otpgate_settings_is_set(&inner->settings)) {
        return base;
    }
    if (!otpgate_settings_is_set(&outer->settings)) {
        return child;
    }
    out = apr_palloc(p, sizeof(*out));
    otpgate_settings_merge(&out->settings, OTPGATE_APACHE, &outer->settings, &inner->settings);
    out->listed = 0;
    return out;
}

static void *allocate_from(void *pool, size_t size)
{
    return apr_palloc(pool, size);
}

/* The blocks around a directive, for the configuration test. */
static otpgate_str blocks_of(cmd_parms *cmd)
{
    const ap_directive_t *block;
    const char *text = "";

    for (block = cmd->directive->parent; block; block = block->parent) {
        text = apr_psprintf(cmd->pool, "%s:%d %s %s\n%s", block->filename, block->line_num, block->directive,
                            block->args, text);
    }
    return str(text);
}

/* NULL if the PIN providers that a section names can check PINs. */
static const char *fault_of_pin_providers(cmd_parms *cmd, const otpgate_settings *settings)
{
    otpgate_str listed;
    size_t i;

    for (i = 0; otpgate_settings_pin_provider(settings, i, &listed); i++) {
        const char *name = terminated(cmd->pool, listed);
        const authn_provider *provider = ap_lookup_provider(AUTHN_PROVIDER_GROUP, name, AUTHN_PROVIDER_VERSION);

        if (!provider) {
            return apr_psprintf(cmd->pool, "Unknown Authn provider: %s", name);
        }
        if (!provider->check_password) {
            return apr_psprintf(cmd->pool, "The '%s' Authn provider doesn't support Basic Authentication", name);
        }
    }
    return NULL;
}

static const char *set_directive(cmd_parms *cmd, void *dconf, int argc, char *const argv[])
{
    otp_dir_conf *conf = dconf;
    otpgate_str *args = apr_palloc(cmd->temp_pool, (argc + 1) * sizeof(*args));
    const otpgate_pool pool = { allocate_from, cmd->pool };
    const char *place = apr_psprintf(cmd->temp_pool, "%s:%d", cmd->directive->filename, cmd->directive->line_num);
    /* .htaccess files are read while requests are served, by several threads and into a request's memory. */
    int is_for_a_request = ap_check_cmd_context(cmd, NOT_IN_HTACCESS) != NULL;
    char error[512];
    int i;

    for (i = 0; i < argc; i++) {
        args[i] = str(argv[i]);
    }
    if (otpgate_settings_set(is_for_a_request ? NULL : gate, &conf->settings, &pool, OTPGATE_APACHE, str(cmd->cmd->name),
                             args, argc, str(place), error, sizeof(error))) {
        return apr_pstrdup(cmd->pool, error);
    }
    if (!conf->listed && !is_for_a_request) {
        otpgate_place *listed = apr_array_push(places);

        memset(listed, 0, sizeof(*listed));
        listed->settings = &conf->settings;
        listed->section = blocks_of(cmd);
        conf->listed = 1;
    }
    return fault_of_pin_providers(cmd, &conf->settings);
}

/*
 * Other modules' directives, which httpd hands to every module that declares them: nothing else says which places ask
 * us. Those inside an <AuthnProviderAlias> aren't seen. A directive without its module stays unknown.
 */
static const char *note_directive(cmd_parms *cmd, void *dconf, const char *word)
{
    char *const words[] = { (char *)word };

    if (!ap_find_linked_module(cmd->info)) {
        return apr_pstrcat(cmd->pool, cmd->cmd->name, " needs ", cmd->info, NULL);
    }
    return set_directive(cmd, dconf, 1, words);
}

static const command_rec directives_of_others[] = {
    AP_INIT_ITERATE("AuthBasicProvider", note_directive, "mod_auth_basic.c", OR_AUTHCFG, "see mod_auth_basic"),
    AP_INIT_ITERATE("AuthDigestProvider", note_directive, "mod_auth_digest.c", OR_AUTHCFG, "see mod_auth_digest"),
    AP_INIT_ITERATE("AuthFormProvider", note_directive, "mod_auth_form.c", OR_AUTHCFG, "see mod_auth_form"),
    AP_INIT_TAKE1("AuthBasicUseDigestAlgorithm", note_directive, "mod_auth_basic.c", OR_AUTHCFG, "see mod_auth_basic"),
    AP_INIT_TAKE1("AuthType", note_directive, "mod_authn_core.c", OR_AUTHCFG, "see mod_authn_core"),
};

#define OTHERS (sizeof(directives_of_others) / sizeof(*directives_of_others))

static command_rec directives[OTPGATE_SETTINGS_MAX + OTHERS + 1];

/* httpd reads a module's directives before it calls the module: they must exist once it is loaded. How many
 * words a setting takes is up to the library. */
__attribute__((constructor)) static void list_directives(void)
{
    command_rec *directive = directives;
    const char *name;
    size_t i;

    for (i = 0; (name = otpgate_setting_name(OTPGATE_APACHE, i)) != NULL; i++, directive++) {
        directive->name = name;
        directive->AP_TAKE_ARGV = set_directive;
        directive->req_override = otpgate_setting_is_for_authors(OTPGATE_APACHE, i) ? OR_AUTHCFG
                                                                                    : RSRC_CONF | ACCESS_CONF;
        directive->args_how = TAKE_ARGV;
        directive->errmsg = otpgate_setting_usage(OTPGATE_APACHE, i);
    }
    memcpy(directive, directives_of_others, sizeof(directives_of_others));
}

static apr_status_t end_cycle(void *data)
{
    (void)data;
    otpgate_gate_free(gate);
    gate = NULL;
    places = NULL;
    store_in_cache = NULL;
    return APR_SUCCESS;
}

static int start_cycle(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp)
{
    otpgate_host host;

    (void)plog;
    (void)ptemp;

    memset(&host, 0, sizeof(host));
    host.api_version = OTPGATE_API_VERSION;
    host.server = OTPGATE_APACHE;
    host.root = str(ap_server_root);
    host.log = log_line;
    host.check_pin = check_pin;

    gate = otpgate_gate_new(&host);
    if (!gate) {
        ap_log_error(APLOG_MARK, APLOG_STARTUP | APLOG_CRIT, 0, NULL, "mod_authn_otp: cannot initialise otpgate %s",
                     otpgate_version());
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    places = apr_array_make(pconf, 16, sizeof(otpgate_place));

    /* Only the parent ever ends pconf, in its main loop. Children destroy no more than the sub-pool they made
     * of it (prefork: in a signal handler) and leave by exit(); a program they start runs no clean-up. So
     * the gate is freed exactly once, where no other thread and no signal handler can be inside it. */
    apr_pool_cleanup_register(pconf, NULL, end_cycle, apr_pool_cleanup_null);

    /* All modules are loaded by now, and providers fetch this function later than here. The table of optional
     * functions is made anew in each cycle, so this can't wrap itself. */
    store_in_cache = APR_RETRIEVE_OPTIONAL_FN(ap_authn_cache_store);
    if (store_in_cache) {
        apr_dynamic_fn_register("ap_authn_cache_store", (apr_opt_fn_t *)store_unless_pin);
    }
    return OK;
}

/* Findings are reported and stop nothing: with a broken users file, only its own sections answer 500. */
static int test_places(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    apr_array_header_t *roots = apr_array_make(ptemp, 4, sizeof(otpgate_str));
    otpgate_identity identity;
    otp_call call = { NULL, NULL, NULL };

    (void)pconf;
    (void)plog;

    if (ap_state_query(AP_SQ_RUN_MODE) != AP_SQ_RM_CONFIG_TEST) {
        return DECLINED;
    }
    for (; s; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);

        APR_ARRAY_PUSH(roots, otpgate_str) = str(core->ap_document_root);
    }

    /* A server not started by root keeps its user, whatever `User` says. */
    identity.uid = geteuid() ? geteuid() : ap_unixd_config.user_id;
    identity.gid = geteuid() ? getegid() : ap_unixd_config.group_id;

    otpgate_places_check(gate, (const otpgate_place *)places->elts, places->nelts, (const otpgate_str *)roots->elts,
                         roots->nelts, &identity, &call);
    return OK;
}

/* The number of threads is known only now. Children inherit the memory. */
static int lend_refusal_memory(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *s)
{
    otp_call call = { NULL, NULL, s };
    apr_shm_t *memory;
    int processes = 0, threads = 0;
    apr_size_t all;

    (void)plog;
    (void)ptemp;
    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &processes);
    ap_mpm_query(AP_MPMQ_MAX_THREADS, &threads);
    all = (apr_size_t)(processes > 0 ? processes : 1) * (threads > 0 ? threads : 1);
    if (apr_shm_create(&memory, otpgate_refusal_memory(all), NULL, pconf) != APR_SUCCESS) {
        otpgate_log_event(gate, OTPGATE_EVENT_NO_REFUSAL_MEMORY, str(NULL), &call);
        return OK;
    }
    memset(apr_shm_baseaddr_get(memory), 0, otpgate_refusal_memory(all));
    otpgate_lend_refusal_memory(gate, apr_shm_baseaddr_get(memory), all);
    return OK;
}

static void register_hooks(apr_pool_t *p)
{
    refusal_filter = ap_register_output_filter("OTP_REFUSAL", refuse, NULL, AP_FTYPE_CONTENT_SET);
    ap_hook_insert_filter(insert_refusal_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_insert_error_filter(insert_refusal_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_post_config(lend_refusal_memory, NULL, NULL, APR_HOOK_MIDDLE);
    ap_register_auth_provider(p, AUTHN_PROVIDER_GROUP, PROVIDER_NAME, AUTHN_PROVIDER_VERSION, &otp_provider,
                              AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_pre_config(start_cycle, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_config(test_places, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_check_access(veto_satisfy_any, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_access_ex(require_tls, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_access_ex(check_before_login, NULL, NULL, APR_HOOK_REALLY_LAST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authn(check_cookie, NULL, NULL, APR_HOOK_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_check_authz(spend_digest, NULL, NULL, APR_HOOK_REALLY_FIRST, AP_AUTH_INTERNAL_PER_CONF);
    /* Not one of the access hooks: those may be skipped, which is what it is for. */
    ap_hook_fixups(check_path_of_part, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(insist_on_page, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_fixups(tell_paper_next, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_filter(strip_credentials, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_handler(serve_page, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_log_transaction(end_request, NULL, NULL, APR_HOOK_FIRST);
}

module AP_MODULE_DECLARE_DATA authn_otp_module = {
    STANDARD20_MODULE_STUFF,
    create_dir_conf,
    merge_dir_conf,
    NULL, /* nothing per server */
    NULL,
    directives,
    register_hooks,
#ifdef AP_MODULE_FLAG_NONE
    AP_MODULE_FLAG_NONE
#endif
};
