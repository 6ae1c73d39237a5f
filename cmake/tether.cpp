// The source file of tether::compiled: all of Tether that is not a template.
#include <tether/src.hpp>
