// Decoding with AVX-512, VBMI and BF16: 64 codes at a time in about twelve cycles, whatever the block.
#include "row_decoder.hpp"

#if defined(__AVX512BF16__) && defined(__AVX512VBMI__) && defined(__AVX512BW__) && defined(__x86_64__)

#include <immintrin.h>

namespace kbit {
namespace {

constexpr float kLeast = 0x1p-60f;  // of scales and offsets, see RowDecoder

constexpr uint64_t first_bits(size_t n) { return n >= 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1; }

struct alignas(64) Bytes {
    uint8_t at[64];
};

// Two interleaves (low with high bytes, then words with zeros below) turn a register of looked-up bytes
// into four of float32. They take bytes 4q..4q+3 of every 128-bit lane to the q-th of the four, so that
// one is in order when byte 16 * lane + 4q + j is weight 16q + 4 * lane + j.
// A 64-bit word g therefore gets two runs of four codes; each run lies within four bytes of the stream.
constexpr int first_weight(int word, int half) { return 16 * (2 * (word & 1) + half) + 4 * (word >> 1); }

template <int K>
__m512i word_bytes() {
    Bytes b;
    for (int word = 0; word < 8; ++word)
        for (int half = 0; half < 2; ++half)
            for (int j = 0; j < 4; ++j)
                b.at[8 * word + 4 * half + j] =
                    static_cast<uint8_t>((K * first_weight(word, half) / 8 + j) & 63);
    return _mm512_load_si512(&b);
}

template <int K>
__m512i code_shifts() {
    Bytes b;
    for (int word = 0; word < 8; ++word)
        for (int half = 0; half < 2; ++half)
            for (int j = 0; j < 4; ++j)
                b.at[8 * word + 4 * half + j] =
                    static_cast<uint8_t>(32 * half + K * first_weight(word, half) % 8 + K * j);
    return _mm512_load_si512(&b);
}

template <int K>
struct Lookup {
    static constexpr int kRegisters = K <= 6 ? 1 : K == 7 ? 2 : 4;
    __m512i plane[kRegisters];

    explicit Lookup(const uint8_t *bytes) {
        for (int i = 0; i < kRegisters; ++i) plane[i] = _mm512_load_si512(bytes + 64 * i);
    }
    __m512i operator()(__m512i codes) const {
        if constexpr (K <= 6) {
            return _mm512_permutexvar_epi8(codes, plane[0]);
        } else if constexpr (K == 7) {
            return _mm512_permutex2var_epi8(plane[0], codes, plane[1]);
        } else {
            return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes),
                                          _mm512_permutex2var_epi8(plane[0], codes, plane[1]),
                                          _mm512_permutex2var_epi8(plane[2], codes, plane[3]));
        }
    }
};

template <int K>
struct Decoder {
    const __m512i bytes = word_bytes<K>(), shifts = code_shifts<K>();
    const __m512i mask = _mm512_set1_epi8(static_cast<char>((1 << K) - 1));
    const Lookup<K> low, high;

    explicit Decoder(const BytePlanes &planes) : low(planes.low), high(planes.high) {}

    // Sixteen weights of the table in each register, in order.
    void values(const uint8_t *in, size_t left, __m512 out[4]) const {
        const uint64_t take = left >= 64 ? first_bits(8 * K) : first_bits((left + 31) / 32 * 4 * K);
        __m512i codes = _mm512_maskz_loadu_epi8(take, in);
        codes = _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(bytes, codes));
        codes = _mm512_and_si512(codes, mask);
        const __m512i lows = low(codes), highs = high(codes), zero = _mm512_setzero_si512();
        const __m512i first = _mm512_unpacklo_epi8(lows, highs), second = _mm512_unpackhi_epi8(lows, highs);
        out[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, first));
        out[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, first));
        out[2] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, second));
        out[3] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, second));
    }
};

// The first `n` of 64 weights.
inline void store(const __m512 v[4], size_t n, uint16_t *out) {
    for (size_t i = 0; i < 2 && 32 * i < n; ++i) {
        const __m512i pair = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v[2 * i + 1], v[2 * i]));
        _mm512_mask_storeu_epi16(out + 32 * i, static_cast<__mmask32>(first_bits(n - 32 * i)), pair);
    }
}

inline void store(const __m512 v[4], size_t n, float *out) {
    for (size_t i = 0; i < 4 && 16 * i < n; ++i) {
        _mm512_mask_storeu_ps(out + 16 * i, static_cast<__mmask16>(first_bits(n - 16 * i)), v[i]);
    }
}

template <int K, class Out>
void decode(const BytePlanes &planes, const Stretch &from, Out *out) {
    const Decoder<K> decoder(planes);
    const uint8_t *codes = from.codes;
    const bool one_a_step = from.block % 64 == 0;
    const float *scale = from.scales, *offset = from.offsets;
    size_t in_block = from.first_left, left = from.n;
    for (; left > 0; codes += 8 * K, out += 64) {
        __m512 v[4];
        decoder.values(codes, left, v);
        if (one_a_step) {
            const __m512 s = _mm512_set1_ps(*scale);
            for (int i = 0; i < 4; ++i) v[i] = _mm512_mul_ps(v[i], s);
            if (offset) {
                const __m512 o = _mm512_set1_ps(*offset);
                for (int i = 0; i < 4; ++i) v[i] = _mm512_add_ps(v[i], o);
            }
            in_block -= 64;
            if (in_block == 0) {
                ++scale;
                if (offset) ++offset;
                in_block = from.block;
            }
        } else {
            for (size_t i = 0; i < 4 && 16 * i < left; ++i) {
                v[i] = _mm512_mul_ps(v[i], _mm512_set1_ps(*scale));
                if (offset) v[i] = _mm512_add_ps(v[i], _mm512_set1_ps(*offset));
                in_block -= 16;
                if (in_block == 0) {
                    ++scale;
                    if (offset) ++offset;
                    in_block = from.block;
                }
            }
        }
        store(v, left, out);
        if (left <= 64) return;
        left -= 64;
    }
}

template <class Out>
void decode_any(const BytePlanes &planes, int bits, const Stretch &from, Out *out) {
    switch (bits) {
        case 1: return decode<1>(planes, from, out);
        case 2: return decode<2>(planes, from, out);
        case 3: return decode<3>(planes, from, out);
        case 4: return decode<4>(planes, from, out);
        case 5: return decode<5>(planes, from, out);
        case 6: return decode<6>(planes, from, out);
        case 7: return decode<7>(planes, from, out);
        default: return decode<8>(planes, from, out);
    }
}

void to_bfloat16(const BytePlanes &planes, int bits, const Stretch &from, uint16_t *out) {
    decode_any(planes, bits, from, out);
}

void to_float(const BytePlanes &planes, int bits, const Stretch &from, float *out) {
    decode_any(planes, bits, from, out);
}

const float *scales(const void *stored, size_t n, ScaleType type, float *room) {
    const __m512 magnitude = _mm512_castsi512_ps(_mm512_set1_epi32(0x7fffffff));
    __mmask16 subnormal = 0;
    for (size_t i = 0; i < n; i += 16) {
        const auto keep = static_cast<__mmask16>(first_bits(n - i));
        __m512 wide;
        if (type == ScaleType::fp32) {
            wide = _mm512_maskz_loadu_ps(keep, static_cast<const float *>(stored) + i);
        } else {
            const __m256i raw = _mm256_maskz_loadu_epi16(keep, static_cast<const uint16_t *>(stored) + i);
            wide = type == ScaleType::fp16
                       ? _mm512_cvtph_ps(raw)
                       : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(raw), 16));
        }
        const __m512 size = _mm512_and_ps(wide, magnitude);
        // Compared as integers: whatever the processor is told to do with subnormals.
        subnormal |= _mm512_cmplt_epu32_mask(_mm512_castps_si512(size), _mm512_castps_si512(_mm512_set1_ps(kLeast))) &
                     _mm512_test_epi32_mask(_mm512_castps_si512(size), _mm512_castps_si512(size));
        _mm512_storeu_ps(room + i, wide);
    }
    return subnormal == 0 ? room : nullptr;
}

const RowDecoder kWide = {to_bfloat16, to_float, scales};

}  // namespace

const RowDecoder *wide_row_decoder() { return &kWide; }

}  // namespace kbit

#else

namespace kbit {
const RowDecoder *wide_row_decoder() { return nullptr; }
}  // namespace kbit

#endif
