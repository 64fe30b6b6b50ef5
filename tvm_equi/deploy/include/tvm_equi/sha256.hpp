// SHA-256 (FIPS 180-4) with the CPU's own instructions where it has them.
//
// In: bytes. Out: 32 bytes, or 64 characters of hex. Files are checked with it before any of their
// code is loaded, so its speed is most of the time that a load takes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#if defined(__x86_64__) && defined(__GNUC__)
#define TVM_EQUI_SHA_INSTRUCTIONS 1
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace tvm_equi {

using Digest = std::array<unsigned char, 32>;

namespace detail {

inline constexpr uint32_t kShaConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

using ShaState = std::array<uint32_t, 8>;

inline uint32_t rotate_right(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

inline void sha256_blocks_portable(ShaState& state, const unsigned char* data, size_t num_blocks) {
  for (; num_blocks > 0; --num_blocks, data += 64) {
    uint32_t w[16];  // the last sixteen words of the schedule
    for (int i = 0; i < 16; ++i) {
      w[i] = uint32_t(data[4 * i]) << 24 | uint32_t(data[4 * i + 1]) << 16 |
             uint32_t(data[4 * i + 2]) << 8 | uint32_t(data[4 * i + 3]);
    }
    auto [a, b, c, d, e, f, g, h] = state;
#pragma GCC unroll 64
    for (int i = 0; i < 64; ++i) {
      if (i >= 16) {
        const uint32_t near = w[(i + 14) % 16], far = w[(i + 1) % 16];
        w[i % 16] += w[(i + 9) % 16] + (rotate_right(far, 7) ^ rotate_right(far, 18) ^ (far >> 3)) +
                     (rotate_right(near, 17) ^ rotate_right(near, 19) ^ (near >> 10));
      }
      const uint32_t t1 = h + (rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25)) +
                          (g ^ (e & (f ^ g))) + kShaConstants[i] + w[i % 16];
      const uint32_t t2 = (rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22)) +
                          ((a & b) | (c & (a | b)));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t add[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += add[i];
  }
}

#ifdef TVM_EQUI_SHA_INSTRUCTIONS
// The instructions keep the state as (a, b, e, f) and (c, d, g, h), highest word first.
__attribute__((target("sha,sse4.1,ssse3"))) inline void sha256_blocks_instructions(
    ShaState& state, const unsigned char* data, size_t num_blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i dcba = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&state[0]));
  __m128i hgfe = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&state[4]));
  dcba = _mm_shuffle_epi32(dcba, 0xb1);
  hgfe = _mm_shuffle_epi32(hgfe, 0x1b);
  __m128i abef = _mm_alignr_epi8(dcba, hgfe, 8);
  __m128i cdgh = _mm_blend_epi16(hgfe, dcba, 0xf0);
  for (; num_blocks > 0; --num_blocks, data += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {  // four rounds each
      __m128i& word = w[i % 4];
      if (i < 4) {
        word = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 16 * i));
        word = _mm_shuffle_epi8(word, big_endian);
      } else {
        const __m128i last = w[(i + 3) % 4];
        word = _mm_sha256msg1_epu32(word, w[(i + 1) % 4]);
        word = _mm_add_epi32(word, _mm_alignr_epi8(last, w[(i + 2) % 4], 4));
        word = _mm_sha256msg2_epu32(word, last);
      }
      __m128i sum = _mm_add_epi32(
          word, _mm_loadu_si128(reinterpret_cast<const __m128i*>(&kShaConstants[4 * i])));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(&state[0]), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(&state[4]), _mm_alignr_epi8(dchg, feba, 8));
}

inline bool has_sha_instructions() {
  static const bool found = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
    const bool has_sse = (ecx >> 19 & 1) && (ecx >> 9 & 1);  // SSE4.1 and SSSE3
    return has_sse && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx >> 29 & 1);
  }();
  return found;
}
#else
inline bool has_sha_instructions() { return false; }
#endif

inline void sha256_blocks(ShaState& state, const unsigned char* data, size_t num_blocks,
                          bool use_instructions) {
#ifdef TVM_EQUI_SHA_INSTRUCTIONS
  if (use_instructions) return sha256_blocks_instructions(state, data, num_blocks);
#endif
  sha256_blocks_portable(state, data, num_blocks);
}

inline Digest sha256_with(bool use_instructions, const void* bytes, size_t size) {
  ShaState state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const auto* data = static_cast<const unsigned char*>(bytes);
  sha256_blocks(state, data, size / 64, use_instructions);
  // What is left, a bit of one, zeros, and the number of bits, in one block or two.
  unsigned char tail[128] = {};
  const size_t rest = size % 64, num_tail = rest < 56 ? 1 : 2;
  if (rest > 0) std::memcpy(tail, data + (size - rest), rest);
  tail[rest] = 0x80;
  for (size_t i = 0; i < 8; ++i) {
    tail[64 * num_tail - 1 - i] = static_cast<unsigned char>(uint64_t(size) * 8 >> (8 * i));
  }
  sha256_blocks(state, tail, num_tail, use_instructions);
  Digest digest;
  for (size_t i = 0; i < 32; ++i) {
    digest[i] = static_cast<unsigned char>(state[i / 4] >> (24 - 8 * (i % 4)));
  }
  return digest;
}

}  // namespace detail

/// The SHA-256 of some bytes.
inline Digest sha256(const void* bytes, size_t size) {
  return detail::sha256_with(detail::has_sha_instructions(), bytes, size);
}

/// A digest in lower-case hex.
inline std::string hex(const Digest& digest) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned char byte : digest) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace tvm_equi
