/* A small coverage-guided fuzzer for gcc: keeps every input that reaches code in a new way, and mutates what it kept.
 *
 *   driver SECONDS SEED CRASH-FILE SEED-FILE...     fuzz; a bad input is written to CRASH-FILE, and at the end the
 *                                                   smallest inputs that reach all that was reached to CRASH-FILE.corpus
 *   driver - INPUT-FILE...                          run these once
 *
 * The rooms are compiled with -fsanitize-coverage=trace-pc, which calls __sanitizer_cov_trace_pc() in each basic block;
 * this file is not. A pair of blocks is one byte of the map, as in AFL; counts are put into eight classes.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sanitizer/common_interface_defs.h>

int fuzz_one(const uint8_t *data, size_t n);

enum { MAP = 1 << 13, KEPT = 20000, LARGEST = 1 << 15 };

static uint8_t map[MAP], known[MAP];
static uintptr_t last_block;
static struct kept { uint8_t *p; size_t n; } kept[KEPT];
static size_t nkept;
static uint8_t input[LARGEST];
static size_t input_n;
static const char *crash_file;
static uint64_t seed;
static int counting = 1; /* how often a pair of blocks ran is of interest too */

static const char *const words[] = {
    "\r\n", "\r\n\r\n", "\r", "\n", " ", "\t", ":", ",", ";", "=", "\"", "\\", "%", "%00", "%2e", "%2F", "/", "//", "/./",
    "/../", "?", "#", "GET ", "POST / HTTP/1.1\r\n", " HTTP/1.1\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.0", "http://",
    "Host: a\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: ", "close", "keep-alive",
    "upgrade", "Upgrade: x\r\n", "Expect: 100-continue\r\n", "gzip", "chunked", "x_y: z\r\n", "[::1]", ":80", "@", ".", "..",
    "0\r\n\r\n", "5\r\nhello\r\n", "fffffffffffffff", "1;a=\"b\"\r\n", "T: x\r\n", "*", "OPTIONS", "103", "\xff",
};

void __sanitizer_cov_trace_pc(void)
{
    uintptr_t block = (uintptr_t)__builtin_return_address(0);
    block = (block >> 4) ^ (block << 8);
    map[(block ^ last_block) % MAP]++;
    last_block = block >> 1;
}

static uint32_t random_below(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) * n >> 32);
}

static void save_crash(void)
{
    FILE *f = fopen(crash_file, "wb");
    if (f) {
        fwrite(input, 1, input_n, f);
        fclose(f);
        fprintf(stderr, "fuzz: the input is in %s\n", crash_file);
    }
}

static void on_abort(int sig)
{
    (void)sig;
    save_crash();
    _Exit(1);
}

static uint8_t class_of(uint8_t count)
{
    static const uint8_t edges[] = {1, 2, 3, 7, 15, 31, 127, 255};
    uint8_t i = 0;

    if (!counting)
        return 1;
    while (count > edges[i])
        i++;
    return (uint8_t)(1 << i);
}

/* Did the last run do something new? Remembers it. */
static int is_new(void)
{
    uint64_t word;
    int found = 0;
    for (size_t i = 0; i < MAP; i += 8) {
        memcpy(&word, map + i, 8);
        if (word == 0)
            continue;
        for (size_t j = i; j < i + 8; j++)
            if (map[j] && !(known[j] & class_of(map[j]))) {
                known[j] |= class_of(map[j]);
                found = 1;
            }
    }
    return found;
}

/* Returns whether the input did something new. */
static int run(void)
{
    int found;

    memset(map, 0, MAP);
    last_block = 0;
    fuzz_one(input, input_n);
    found = is_new();
    if (found && nkept < KEPT) {
        kept[nkept].p = malloc(input_n + 1);
        memcpy(kept[nkept].p, input, input_n);
        kept[nkept++].n = input_n;
    }
    return found;
}

static void insert(size_t at, const void *p, size_t n)
{
    if (input_n + n > LARGEST)
        return;
    memmove(input + at + n, input + at, input_n - at);
    memcpy(input + at, p, n);
    input_n += n;
}

static void erase(size_t at, size_t n)
{
    memmove(input + at, input + at + n, input_n - at - n);
    input_n -= n;
}

static void mutate(void)
{
    size_t at = random_below((uint32_t)input_n + 1), left = input_n - at, n, other;
    const char *word = words[random_below(sizeof(words) / sizeof(*words))];
    static uint8_t piece[256];
    uint8_t byte = (uint8_t)random_below(256);

    switch (random_below(8)) {
    case 0:
        if (left)
            input[at] ^= (uint8_t)(1 << random_below(8));
        break;
    case 1:
        if (left)
            input[at] = byte;
        break;
    case 2:
        insert(at, &byte, 1);
        break;
    case 3:
    case 4:
        insert(at, word, strlen(word));
        break;
    case 5:
        if (left)
            erase(at, 1 + random_below((uint32_t)(left < 16 ? left : 16)));
        break;
    case 6: /* repeat a piece */
        n = left < sizeof(piece) ? left : sizeof(piece);
        n = n ? 1 + random_below((uint32_t)n) : 0;
        memcpy(piece, input + at, n);
        insert(at, piece, n);
        break;
    case 7: /* go on as another one does */
        other = random_below((uint32_t)nkept);
        n = random_below((uint32_t)kept[other].n + 1);
        input_n = at;
        if (kept[other].n - n <= LARGEST - at)
            insert(at, kept[other].p + n, kept[other].n - n);
        break;
    }
}

static int by_size(const void *a, const void *b)
{
    size_t n = ((const struct kept *)a)->n, m = ((const struct kept *)b)->n;
    return (n > m) - (n < m);
}

/* The short ones first: a longer one must reach a pair of blocks that they did not. A line of hexadecimal for each. */
static void save_corpus(void)
{
    size_t all = nkept, saved = 0;
    char path[4096];
    FILE *f;

    snprintf(path, sizeof(path), "%s.corpus", crash_file);
    f = fopen(path, "w");
    if (!f) {
        perror(path);
        exit(2);
    }
    qsort(kept, all, sizeof(*kept), by_size);
    memset(known, 0, MAP);
    counting = 0;
    for (size_t k = 0; k < all; k++) {
        nkept = KEPT; /* run() keeps no more */
        input_n = kept[k].n;
        memcpy(input, kept[k].p, input_n);
        if (!run())
            continue;
        for (size_t i = 0; i < input_n; i++)
            fprintf(f, "%02x", input[i]);
        fputc('\n', f);
        saved++;
    }
    fclose(f);
    printf("fuzz: %zu of %zu inputs reach all\n", saved, all);
}

static void load(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        exit(2);
    }
    input_n = fread(input, 1, LARGEST, f);
    fclose(f);
    run();
}

int main(int argc, char **argv)
{
    size_t pick, runs = 0;
    time_t end;

    if (argc > 2 && strcmp(argv[1], "-") == 0) {
        crash_file = "/dev/null";
        for (int i = 2; i < argc; i++)
            load(argv[i]);
        return 0;
    }
    if (argc < 5) {
        fprintf(stderr, "usage: %s SECONDS SEED CRASH-FILE SEED-FILE... | - INPUT-FILE...\n", argv[0]);
        return 2;
    }
    end = time(NULL) + atoi(argv[1]);
    seed = strtoull(argv[2], NULL, 10) * 2 + 1;
    crash_file = argv[3];
    __sanitizer_set_death_callback(save_crash);
    signal(SIGABRT, on_abort);
    for (int i = 4; i < argc; i++)
        load(argv[i]);
    printf("fuzz: %zu of %d seeds kept\n", nkept, argc - 4);
    while (time(NULL) < end) {
        for (int i = 0; i < 1000; i++, runs++) {
            /* half of the time one of the newest, which the others have not explored yet */
            pick = random_below((uint32_t)nkept);
            if (nkept > 64 && random_below(2))
                pick = nkept - 1 - random_below((uint32_t)nkept / 8);
            input_n = kept[pick].n;
            memcpy(input, kept[pick].p, input_n);
            for (uint32_t k = 1 + random_below(4); k; k--)
                mutate();
            run();
        }
    }
    printf("fuzz: %zu runs, %zu inputs kept, nothing found\n", runs, nkept);
    save_corpus();
    return 0;
}
