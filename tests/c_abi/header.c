/* The header comes first and twice: it needs nothing before it and may be included again. */
#include "otpgate.h"
#include "otpgate.h"

#include <string.h>

/* What a server's module does with it, in C and in C++. */
int main(void)
{
    otpgate_host host;
    memset(&host, 0, sizeof host);
    host.api_version = OTPGATE_API_VERSION;
    host.server = OTPGATE_APACHE;
    /* Without a log there is no gate. */
    return otpgate_gate_new(&host) != NULL || strcmp(otpgate_version(), PACKAGE_VERSION) != 0;
}
