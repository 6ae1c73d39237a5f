# Reads TETHER_VERSION from include/tether/version.hpp, the only place where the version stands.

set(version_header "${CMAKE_CURRENT_LIST_DIR}/../include/tether/version.hpp")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${version_header}")

set(TETHER_VERSION "")
foreach(part MAJOR MINOR PATCH)
    file(STRINGS "${version_header}" line REGEX "^#define TETHER_VERSION_${part} [0-9]+")
    if(NOT line MATCHES "^#define TETHER_VERSION_${part} ([0-9]+)")
        message(FATAL_ERROR "No TETHER_VERSION_${part} in ${version_header}")
    endif()
    string(APPEND TETHER_VERSION ".${CMAKE_MATCH_1}")
endforeach()
string(SUBSTRING "${TETHER_VERSION}" 1 -1 TETHER_VERSION)
