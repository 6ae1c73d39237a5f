// Prints to stdout whatever comes to its mind, also what looks like the host's own output or like a
// frame of Tether's protocol. Nothing of it gets anywhere but to stderr.
#include <cstdio>

#include "plugin.h"

void plugin_check(const char*, plugin_report* report, void* context) {
    std::puts("{\"plugin\": \"noisy\", \"fate\": \"the best of all\"}");
    const unsigned char answer_to_call_1[] = {24, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
    std::fwrite(answer_to_call_1, 1, sizeof answer_to_call_1, stdout);
    std::puts("\033[2J\007 99% done\r100% done");
    report(context, 1, "the first line is a bit quiet");
}
