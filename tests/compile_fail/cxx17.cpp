// expect: Tether needs C\+\+20: compile with -std=c\+\+20
// lines: 20
// options: -std=c++17
#include <tether/tether.hpp>

int main() {}
