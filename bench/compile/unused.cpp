#include <tether/tether.hpp>

int main() {}
