# What an installation is, and the Debian package made of it (make install, make deb).
#   bin/strata  lib/strata/libstrata-cuda13.so (where built; or 12)  share/strata/models and profiles: found from the program's own folder
#   share/man, bash, zsh and fish completion: made by the program when it is built
#   lib/systemd/system/strata.service: with the path of this installation in it
# Component "plain" is not in the package, whose licence Debian keeps elsewhere; "debian" is in nothing else.
set(STRATA_ZSH zsh/site-functions CACHE STRING "where zsh looks, below share/; Debian's packages: zsh/vendor-completions")
set(docs ${CMAKE_BINARY_DIR}/share)
add_custom_command(OUTPUT ${docs}.stamp DEPENDS strata ${CMAKE_SOURCE_DIR}/cmake/docs.cmake VERBATIM
  COMMAND ${CMAKE_COMMAND} "-DSTRATA=${CMAKE_CROSSCOMPILING_EMULATOR};$<TARGET_FILE:strata>" -DOUT=${docs} -DZSH=${STRATA_ZSH}
          -P ${CMAKE_SOURCE_DIR}/cmake/docs.cmake
  COMMAND ${CMAKE_COMMAND} -E touch ${docs}.stamp)
add_custom_target(docs ALL DEPENDS ${docs}.stamp)

install(TARGETS strata RUNTIME DESTINATION bin COMPONENT program)
if(TARGET strata-cuda)
  install(TARGETS strata-cuda LIBRARY DESTINATION lib/strata COMPONENT program)
endif()
install(DIRECTORY profiles DESTINATION share/strata COMPONENT program FILES_MATCHING PATTERN "*.json")
install(FILES models/strata-demo-base-Q4_K_M.gguf models/README.md DESTINATION share/strata/models COMPONENT program)
install(DIRECTORY ${docs}/ DESTINATION share COMPONENT program)
install(FILES LICENSE README.md DESTINATION share/doc/strata COMPONENT plain)

if(STRATA_SERVER)
  # The prefix is known when it is installed (cmake --install --prefix), not before.
  install(CODE "
    set(prefix \"\${CMAKE_INSTALL_PREFIX}\")
    configure_file(\"${CMAKE_SOURCE_DIR}/deploy/systemd/strata.service.in\" \"${CMAKE_BINARY_DIR}/strata.service\" @ONLY)
    file(INSTALL \"${CMAKE_BINARY_DIR}/strata.service\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")
  " COMPONENT program)
endif()

# ---- the package: make deb ------------------------------------------------------------------------------------------
install(CODE "
    execute_process(COMMAND gzip -9nc \"${CMAKE_SOURCE_DIR}/deploy/debian/changelog\" OUTPUT_FILE \"${CMAKE_BINARY_DIR}/changelog.gz\" COMMAND_ERROR_IS_FATAL ANY)
    file(INSTALL \"${CMAKE_BINARY_DIR}/changelog.gz\" \"${CMAKE_SOURCE_DIR}/deploy/debian/copyright\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/share/doc/strata\")
    file(INSTALL \"${CMAKE_SOURCE_DIR}/deploy/debian/lintian-overrides\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/share/lintian/overrides\" RENAME strata)
  " COMPONENT debian EXCLUDE_FROM_ALL)
set(STRATA_CONTACT "strata maintainers <maintainers@strata.invalid>" CACHE STRING "who answers for the package: Name <address>")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME strata)
set(CPACK_PACKAGE_VENDOR strata)
set(CPACK_PACKAGE_CONTACT "${STRATA_CONTACT}")
set(CPACK_COMPONENTS_ALL program debian)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_SET_DESTDIR ON) # the unit holds the prefix: it must be /usr, not the folder that is packed
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "server of large language models for small machines
strata reads GGUF model files, computes on their quantised weights as they
are, on the CPU or an NVIDIA GPU, and serves them to OpenAI clients over HTTP
with streaming, metrics and a systemd unit. It needs neither Python nor a
tensor library.

A small demo model is included, so that it can be tried at once.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/deploy/debian/postinst ${CMAKE_SOURCE_DIR}/deploy/debian/prerm ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
include(CPack)
