# Installs the headers and a package that `find_package(tether)` finds.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/tether")

configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/tetherConfig.cmake.in" "${PROJECT_BINARY_DIR}/tetherConfig.cmake"
    INSTALL_DESTINATION "${package_dir}"
    NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)

# While the major version is 0, a new minor version may change anything.
set(compatibility SameMinorVersion)
if(PROJECT_VERSION_MAJOR GREATER 0)
    set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tetherConfigVersion.cmake"
    COMPATIBILITY ${compatibility} ARCH_INDEPENDENT)

install(TARGETS tether EXPORT tetherTargets FILE_SET HEADERS)
install(EXPORT tetherTargets NAMESPACE tether:: DESTINATION "${package_dir}")
install(FILES
    "${PROJECT_BINARY_DIR}/tetherConfig.cmake"
    "${PROJECT_BINARY_DIR}/tetherConfigVersion.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/FindAsio.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/TetherCompiled.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/tether.cpp"
    DESTINATION "${package_dir}")
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/licenses/tether")
