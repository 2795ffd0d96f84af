// Goroutines on one thread, as a peer of the benches: see peers/go.rs for what it is asked.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// now is the processor time of this process in nanoseconds, with all of its threads.
func now() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// resident is the memory that this process has, in bytes.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	var size, pages int64
	fmt.Sscan(string(text), &size, &pages)
	return pages * int64(os.Getpagesize())
}

var kept uint64

// handOver sends so many values over a channel without a buffer.
func handOver(values int) int64 {
	start := now()
	channel, done := make(chan int), make(chan bool)
	go func() {
		for value := range channel {
			kept += uint64(value)
		}
		done <- true
	}()
	for value := 0; value < values; value++ {
		channel <- value
	}
	close(channel)
	<-done
	return now() - start
}

// gosched lets two goroutines give way to each other so often each.
func gosched(rounds int) int64 {
	start := now()
	done := make(chan bool)
	body := func() {
		for i := 0; i < rounds; i++ {
			runtime.Gosched()
		}
		done <- true
	}
	go body()
	go body()
	<-done
	<-done
	return now() - start
}

// spawn makes goroutines that give way once and end, one after the other.
func spawn(count int) int64 {
	start := now()
	for i := 0; i < count; i++ {
		go runtime.Gosched()
		runtime.Gosched()
		runtime.Gosched()
	}
	return now() - start
}

// memory is what a goroutine takes that waits on a channel, with three numbers that it needs afterwards.
func memory(count int) int64 {
	runtime.GC()
	debug.FreeOSMemory()
	before := resident()
	never := make(chan uint64)
	for i := 0; i < count; i++ {
		a, b, c := uint64(i), uint64(i+1), uint64(i+2)
		go func() { kept += <-never + a + b + c }()
		if i%1000 == 0 {
			runtime.Gosched()
		}
	}
	runtime.Gosched()
	runtime.GC()
	debug.FreeOSMemory()
	return (resident() - before) / int64(count)
}

func main() {
	runtime.GOMAXPROCS(1)
	fmt.Println(strings.Replace(runtime.Version(), "go", "Go ", 1))
	operations := map[string]func(int) int64{
		"unbuffered_channel": handOver, "Gosched": gosched, "goroutine": spawn, "memory": memory,
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var what string
		var count int
		fmt.Sscan(lines.Text(), &what, &count)
		fmt.Println(operations[what](count))
	}
}
