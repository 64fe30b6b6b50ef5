// What a program may call of libtvm_equi_torch.so, beside torch's operators `tvm_equi::...`.
//
// Nothing here is needed where the kernels are in the .pt2 file, or named by TVM_EQUI_ARTIFACTS.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Makes the operators use the kernels of a file: a .tvmeq, or a .pt2 that has one inside.
/// Gives NULL, or what is wrong, in words that stay valid until this thread's next call.
const char* tvm_equi_load_kernels(const char* path);

#ifdef __cplusplus
}
#endif
