/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The three names that nginx looks up in a module it loads. nginx's own build writes such a file for
 * --add-dynamic-module; this one is for builds against nginx-dev, where only the module is made.
 */

#include <ngx_config.h>
#include <ngx_core.h>

extern ngx_module_t ngx_http_auth_otp_module;

ngx_module_t *ngx_modules[] = { &ngx_http_auth_otp_module, NULL };
char *ngx_module_names[] = { "ngx_http_auth_otp_module", NULL };
char *ngx_module_order[] = { NULL };
