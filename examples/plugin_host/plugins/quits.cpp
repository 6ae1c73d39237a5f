// Believes that it owns the process.
#include <cstdlib>

#include "plugin.h"

void plugin_check(const char*, plugin_report*, void*) { std::exit(0); }
