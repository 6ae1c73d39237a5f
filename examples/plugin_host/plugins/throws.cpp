// Lets an exception escape, across the C interface.
#include <stdexcept>

#include "plugin.h"

void plugin_check(const char*, plugin_report*, void*) {
    throw std::runtime_error("no dictionary for this language");
}
