// A clock that is an hour ahead, for all that a process asks: preloaded by fault_on_hosts.py. Monotonic clocks and
// waiting are left alone, as on a machine whose date is wrong.
#include <dlfcn.h>
#include <semaphore.h>
#include <sys/time.h>
#include <time.h>

namespace {
constexpr time_t kAhead = 3600;

template <class Function>
Function next(const char* name, Function) {
    return (Function)dlsym(RTLD_NEXT, name);
}
}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* now) noexcept {
    static auto real = next("clock_gettime", &clock_gettime);
    int status = real(clock, now);
    if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += kAhead;
    return status;
}

int gettimeofday(timeval* now, void* zone) noexcept {
    static auto real = next("gettimeofday", &gettimeofday);
    int status = real(now, zone);
    if (!status) now->tv_sec += kAhead;
    return status;
}

time_t time(time_t* now) noexcept {
    timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

// Its limit was computed from the clock above.
int sem_timedwait(sem_t* semaphore, const timespec* limit) {
    static auto real = next("sem_timedwait", &sem_timedwait);
    timespec earlier{limit->tv_sec - kAhead, limit->tv_nsec};
    return real(semaphore, &earlier);
}

}  // extern "C"
