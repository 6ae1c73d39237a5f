// Follows a null pointer, and has said something before.
#include <cstdio>

#include "plugin.h"

void plugin_check(const char*, plugin_report*, void*) {
    std::fputs("null_pointer: opening the word list\n", stderr);
    int* volatile words = nullptr;
    *words = 1;
}
