/* NVIDIA's driver and runtime as far as TVM calls them, on the CPU: memory is malloc's, launches and
   everything else are written to the file that FAKE_CUDA_LOG names, a line each, and do nothing.
   Built twice: with -DDRIVER as libcuda.so.1, without as libcudart.so.13. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int note(const char *format, ...) {
  const char *path = getenv("FAKE_CUDA_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (!file) return 0;
  va_list arguments;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
  fputc('\n', file);
  fclose(file);
  return 0;
}

#ifdef DRIVER

typedef struct {
  unsigned grid[3], block[3], shared_bytes;
  void *stream, *attributes;
  unsigned num_attributes;
} LaunchConfig;

int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "fake"); return 0; }
int cuFuncSetAttribute(void *function, int attribute, int value) { return 0; }
int cuGetErrorName(int error, const char **text) { *text = "fake"; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "fake"; return 0; }
int cuModuleLoadData(void **module, const void *image) {
  *module = (void *)image;
  return note("load %08x", *(const unsigned *)image);
}
int cuModuleUnload(void *module) { return 0; }
int cuModuleGetFunction(void **function, void *module, const char *name) {
  *function = strdup(name);
  return 0;
}
int cuLaunchKernelEx(const LaunchConfig *c, void *function, void **parameters, void **extra) {
  return note("launch %s grid %u %u %u block %u %u %u stream %lx", (const char *)function,
              c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2],
              (unsigned long)c->stream);
}
int cuTensorMapEncodeTiled(void) { return 1; }

#else

static int current;
int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  *value = attribute == 75 ? 9 : attribute == 76 ? 0 : 1024; /* the compute capability: 9.0 */
  return 0;
}
int cudaGetDevice(int *device) { *device = current; return 0; }
int cudaGetDeviceCount(int *count) { *count = 2; return 0; }
int cudaSetDevice(int device) { current = device; return note("device %d", device); }
int cudaGetDeviceProperties(void *properties, int device) { return 1; }
int cudaMalloc(void **memory, size_t size) { *memory = malloc(size); return note("malloc"); }
int cudaFree(void *memory) { free(memory); return 0; }
int cudaMallocHost(void **memory, size_t size) { *memory = malloc(size); return note("malloc"); }
int cudaFreeHost(void *memory) { free(memory); return 0; }
int cudaMemGetInfo(size_t *available, size_t *total) { *available = *total = 1 << 30; return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *stream) {
  memcpy(to, from, size);
  return note("memcpy");
}
int cudaMemcpyPeerAsync(void *to, int a, const void *from, int b, size_t size, void *stream) {
  memcpy(to, from, size);
  return note("memcpy");
}
int cudaStreamSynchronize(void *stream) { return note("synchronize"); }
int cudaEventSynchronize(void *event) { return note("synchronize"); }
int cudaGetLastError(void) { return 0; }
int cudaPeekAtLastError(void) { return 0; }
const char *cudaGetErrorName(int error) { return "fake"; }
const char *cudaGetErrorString(int error) { return "fake"; }
#define NOTHING(name) int name(void) { return 0; }
NOTHING(cudaEventCreate) NOTHING(cudaEventDestroy) NOTHING(cudaEventElapsedTime)
NOTHING(cudaEventRecord) NOTHING(cudaGraphDestroy) NOTHING(cudaGraphExecDestroy)
NOTHING(cudaGraphInstantiate) NOTHING(cudaGraphLaunch) NOTHING(cudaStreamBeginCapture)
NOTHING(cudaStreamCreate) NOTHING(cudaStreamCreateWithFlags) NOTHING(cudaStreamDestroy)
NOTHING(cudaStreamEndCapture) NOTHING(cudaStreamWaitEvent)

#endif
