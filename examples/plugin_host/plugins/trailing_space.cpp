// A good plugin: finds spaces at the end of lines.
#include <sstream>
#include <string>

#include "plugin.h"

void plugin_check(const char* text, plugin_report* report, void* context) {
    std::istringstream lines{text};
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        if (line.ends_with(' ')) report(context, number, "space at the end of the line");
    }
}
