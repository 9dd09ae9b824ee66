/* A load for several CPUs: fork, pipe, futex, mmap, mprotect and munmap, and code that changes. It checks what it computes.
 *
 *   load SECONDS CPUS
 *
 * Prints "load ok" with what was done, or "load failed" with what went wrong. */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096

static double seconds;
static int cpus;

/* Shared by all processes. */
struct shared {
    atomic_long forks, pipes, locks, maps, codes;
    atomic_int failed;
};
static struct shared *shared;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static int go_on(double end) { return !atomic_load(&shared->failed) && now() < end; }
static void fail(const char *what, long a, long b) {
    printf("load failed: %s: %ld, not %ld (errno %d)\n", what, a, b, errno);
    fflush(stdout);
    atomic_store(&shared->failed, 1);
}

/* Processes that end with a status of their own, after having written to memory that they share by copy-on-write. */
static void forks(double end) {
    static volatile long page[PAGE / sizeof(long)];
    for (long n = 0; go_on(end); n++) {
        page[n % (PAGE / sizeof(long))] = n;
        pid_t child = fork();
        if (child < 0) return fail("fork", child, 0);
        if (child == 0) {
            page[0] = n + 1;
            _exit(page[0] == n + 1 ? n & 127 : 255);
        }
        int status;
        if (waitpid(child, &status, 0) != child) return fail("waitpid", -1, child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != (n & 127)) return fail("exit status", status, n & 127);
        atomic_fetch_add(&shared->forks, 1);
    }
}

/* Numbers that go to another process and come back one larger. */
static void pipes(double end) {
    int there[2], back[2];
    if (pipe(there) || pipe(back)) return fail("pipe", -1, 0);
    pid_t child = fork();
    if (child == 0) {
        close(there[1]);
        close(back[0]);
        uint64_t v;
        while (read(there[0], &v, sizeof v) == sizeof v) {
            v++;
            if (write(back[1], &v, sizeof v) != sizeof v) break;
        }
        _exit(0);
    }
    close(there[0]);
    close(back[1]);
    for (uint64_t n = 0, v; go_on(end); n += 2) {
        if (write(there[1], &n, sizeof n) != sizeof n || read(back[0], &v, sizeof v) != sizeof v) return fail("pipe", -1, n);
        if (v != n + 1) return fail("pipe", v, n + 1);
        atomic_fetch_add(&shared->pipes, 1);
    }
    close(there[1]);
    waitpid(child, NULL, 0);
}

/* A lock of three states on a futex, and a counter that it protects. */
static atomic_int lock;
static long counter;
static void acquire(void) {
    int free = 0;
    if (atomic_compare_exchange_strong(&lock, &free, 1)) return;
    while (atomic_exchange(&lock, 2) != 0) syscall(SYS_futex, &lock, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}
static void release(void) {
    if (atomic_exchange(&lock, 0) == 2) syscall(SYS_futex, &lock, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static double end_of_all;
static void *locker(void *sum) {
    while (go_on(end_of_all)) {
        for (int n = 0; n < 100; n++) {
            acquire();
            counter++;
            release();
        }
        *(long *)sum += 100;
        atomic_fetch_add(&shared->locks, 100);
    }
    return NULL;
}

/* Pages that come, change their rights and go while other threads run in the same address space. */
static _Thread_local sigjmp_buf caught;
static void on_fault(int signal) {
    (void)signal;
    siglongjmp(caught, 1);
}
static int faults(volatile char *at) {
    if (sigsetjmp(caught, 1)) return 1;
    *at = 1;
    return 0;
}
static void *mapper(void *number) {
    for (long n = 0; go_on(end_of_all); n++) {
        size_t size = PAGE * (1 + n % 16);
        unsigned char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return fail("mmap", -1, 0), NULL;
        if (p[size - 1] != 0) return fail("a new page", p[size - 1], 0), NULL;
        memset(p, (int)(n + (long)number), size);
        if (mprotect(p, size, PROT_READ)) return fail("mprotect", -1, 0), NULL;
        if (!faults((volatile char *)p + n % size)) return fail("a store to a read-only page", 0, 1), NULL;
        if (p[n % size] != (unsigned char)(n + (long)number)) return fail("a page", p[n % size], n), NULL;
        if (mprotect(p, size, PROT_READ | PROT_WRITE)) return fail("mprotect", -1, 0), NULL;
        p[0]++;
        if (mprotect(p, size, PROT_NONE)) return fail("mprotect", -1, 0), NULL;
        if (!faults((volatile char *)p)) return fail("a store to a page without rights", 0, 1), NULL;
        if (munmap(p, size)) return fail("munmap", -1, 0), NULL;
        atomic_fetch_add(&shared->maps, 1);
    }
    return NULL;
}

/* Functions that each thread changes and calls, all in one page. */
static unsigned char *code;
static void *coder(void *number) {
    unsigned char *mine = code + 32 * (long)number;
    for (int n = 0; go_on(end_of_all); n++) {
        mine[0] = 0xb8; /* mov eax, n */
        memcpy(mine + 1, &n, 4);
        mine[5] = 0xc3; /* ret */
        int got = ((int (*)(void))(uintptr_t)mine)();
        if (got != n) return fail("changed code", got, n), NULL;
        atomic_fetch_add(&shared->codes, 1);
    }
    return NULL;
}

static void threads(double end) {
    pthread_t t[64];
    long sums[64] = {0}, sum = 0;
    int n = 0;
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};
    sigaction(SIGSEGV, &action, NULL);
    code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    end_of_all = end;
    for (long k = 0; k < cpus && n < 60; k++) {
        pthread_create(&t[n++], NULL, locker, &sums[k]);
        pthread_create(&t[n++], NULL, mapper, (void *)k);
        pthread_create(&t[n++], NULL, coder, (void *)k);
    }
    while (n > 0) pthread_join(t[--n], NULL);
    for (int k = 0; k < cpus; k++) sum += sums[k];
    if (sum != counter) fail("the counter", counter, sum);
}

int main(int argc, char **argv) {
    seconds = argc > 1 ? atof(argv[1]) : 5;
    cpus = argc > 2 ? atoi(argv[2]) : 4;
    if (cpus < 1 || cpus > 20) cpus = 4;
    shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double end = now() + seconds;
    int children = 0;
    void (*kinds[])(double) = {forks, pipes, forks, pipes, threads};
    for (unsigned k = 0; k < sizeof kinds / sizeof *kinds; k++, children++) {
        pid_t child = fork();
        if (child == 0) {
            kinds[k](end);
            exit(0);
        }
        if (child < 0) fail("fork", child, 0);
    }
    for (int status; children > 0 && wait(&status) > 0; children--)
        if (!WIFEXITED(status) || WEXITSTATUS(status)) fail("a worker's status", status, 0);
    if (atomic_load(&shared->failed)) return 1;
    printf("load ok: %ld forks, %ld pipes, %ld locks, %ld maps, %ld codes\n", shared->forks, shared->pipes, shared->locks,
           shared->maps, shared->codes);
    return 0;
}
