/* Runs one case by its name, or lists the names. */
#include "harness.h"

#include <stdio.h>
#include <string.h>

static const struct test_case *const groups[] = {gate_cases, settings_cases, login_cases,
                                               digest_cases, process_cases, panic_cases};

int main(int argc, char **argv)
{
    size_t i;
    const struct test_case *found;
    for (i = 0; i < sizeof groups / sizeof *groups; i++) {
        for (found = groups[i]; found->name != NULL; found++) {
            if (argc < 2)
                puts(found->name);
            else if (strcmp(found->name, argv[1]) == 0) {
                found->run();
                return 0;
            }
        }
    }
    if (argc < 2)
        return 0;
    fprintf(stderr, "no case is called %s\n", argv[1]);
    return 2;
}
