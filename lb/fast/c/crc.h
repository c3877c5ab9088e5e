/* CRC-32 (IEEE 802.3, reflected), a nibble at a time: the hash of nginx's `hash` directive and of Cache::Memcached. */
#ifndef LB_CRC_H
#define LB_CRC_H

#include <stdint.h>

static const uint32_t lb_crc_nibbles[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

/* The running value (begun with 0xffffffff, inverted at the end) after n more bytes. */
static inline uint32_t lb_crc_more(uint32_t crc, const char *p, uint32_t n) {
    while (n--) {
        crc ^= (uint8_t)*p++;
        crc = lb_crc_nibbles[crc & 15] ^ (crc >> 4);
        crc = lb_crc_nibbles[crc & 15] ^ (crc >> 4);
    }
    return crc;
}

/* The same for four bytes, given as a little-endian number, with one look-up a byte: a ring is made of millions. */
static uint32_t lb_crc_bytes[4][256];   /* [k][b]: b, then k zero bytes */

__attribute__((constructor)) static void lb_crc_init(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        crc = lb_crc_nibbles[crc & 15] ^ (crc >> 4);
        lb_crc_bytes[0][b] = lb_crc_nibbles[crc & 15] ^ (crc >> 4);
    }
    for (int k = 1; k < 4; k++)
        for (uint32_t b = 0; b < 256; b++)
            lb_crc_bytes[k][b] = lb_crc_bytes[0][lb_crc_bytes[k - 1][b] & 255] ^ (lb_crc_bytes[k - 1][b] >> 8);
}

static inline uint32_t lb_crc_four(uint32_t crc, uint32_t bytes) {
    crc ^= bytes;
    return lb_crc_bytes[3][crc & 255] ^ lb_crc_bytes[2][crc >> 8 & 255] ^ lb_crc_bytes[1][crc >> 16 & 255]
        ^ lb_crc_bytes[0][crc >> 24];
}

#endif
