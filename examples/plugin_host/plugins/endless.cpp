// Never comes back, and asks nobody whether it should.
#include <cstdio>

#include "plugin.h"

void plugin_check(const char*, plugin_report*, void*) {
    std::fputs("endless: this may take a while\n", stderr);
    for (volatile int turns = 0;;) turns = turns ^ 1;
}
