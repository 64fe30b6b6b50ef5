# The target tvm_equi::torch: a program that links it has the operators. Link torch beside it.
cmake_minimum_required(VERSION 3.18)

if(NOT TARGET tvm_equi::torch)
  get_filename_component(_tvm_equi_torch_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
  add_library(tvm_equi::libtvm_equi_torch SHARED IMPORTED)
  set_target_properties(tvm_equi::libtvm_equi_torch PROPERTIES
    IMPORTED_LOCATION "${_tvm_equi_torch_root}/lib/libtvm_equi_torch.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_tvm_equi_torch_root}/include")
  add_library(tvm_equi::torch INTERFACE IMPORTED)
  # Loading the library is what registers the operators; the linker would leave out what nobody calls.
  target_link_libraries(tvm_equi::torch INTERFACE
    -Wl,--push-state,--no-as-needed tvm_equi::libtvm_equi_torch -Wl,--pop-state)
endif()
set(tvm_equi_torch_FOUND TRUE)
